//! Texts of the configuration, found in a time that does not grow with their number.

/// Distinct texts in the order of the configuration. The hash table of the standard library, and its trees, are 5 to 10 KB more in
/// the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    texts: Vec<Box<[u8]>>,
    /// The places of the texts, by their hashes.
    buckets: Vec<Vec<usize>>,
    /// The size of the longest text.
    longest: usize,
}

impl Names {
    /// No text yet, and buckets for this number of texts.
    pub(crate) fn for_number(number: usize) -> Self {
        Self { buckets: vec![Vec::new(); number.max(1)], ..Self::default() }
    }

    /// Adds a text.
    ///
    /// # Errors
    /// The place of an equal one.
    pub(crate) fn add(&mut self, text: &[u8]) -> Result<(), usize> {
        let hash = hash_of(text);
        if let Some(place) = self.find(hash, text) {
            return Err(place);
        }
        let (place, bucket) = (self.texts.len(), self.bucket(hash));
        self.buckets.get_mut(bucket).into_iter().for_each(|bucket| bucket.push(place));
        self.texts.push(text.into());
        self.longest = self.longest.max(text.len());
        Ok(())
    }

    /// The place of this text.
    pub(crate) fn place(&self, text: &[u8]) -> Option<usize> {
        self.find(hash_of(text), text)
    }

    /// The places of the texts with which `text` begins, up to its end or a byte that `ends` a text, and the rest of it. The
    /// shortest comes first. It reads no more of `text` than the longest text has bytes.
    pub(crate) fn prefixes<'t>(
        &self,
        text: &'t [u8],
        ends: fn(u8) -> bool,
    ) -> impl Iterator<Item = (usize, &'t [u8])> {
        let mut hash = FIRST;
        (0..=text.len().min(self.longest)).filter_map(move |end| {
            let (prefix, rest) = text.split_at_checked(end)?;
            let next = rest.first();
            let found = if next.is_none_or(|byte| ends(*byte)) { self.find(hash, prefix) } else { None };
            hash = next.map_or(hash, |byte| longer(hash, *byte));
            found.map(|place| (place, rest))
        })
    }

    fn find(&self, hash: u32, text: &[u8]) -> Option<usize> {
        let is_at = |place: &usize| self.texts.get(*place).is_some_and(|other| **other == *text);
        self.buckets.get(self.bucket(hash))?.iter().copied().find(is_at)
    }

    fn bucket(&self, hash: u32) -> usize {
        usize::try_from(hash).unwrap_or_default().checked_rem(self.buckets.len()).unwrap_or_default()
    }
}

/// FNV-1a, by its start and its factor: <https://www.rfc-editor.org/rfc/rfc9923>.
const FIRST: u32 = 0x811c_9dc5;
const FACTOR: u32 = 0x0100_0193;

fn hash_of(text: &[u8]) -> u32 {
    text.iter().fold(FIRST, |hash, byte| longer(hash, *byte))
}

/// The hash of a text with one more byte.
fn longer(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_like_texts_of_a_configuration() {
        for number in [1, 31, 961, 1_000, 10_000] {
            let mut names = Names::for_number(number);
            for place in 0..number {
                names.add(format!("/hooks/h{place}").as_bytes()).unwrap();
            }
            let fullest = names.buckets.iter().map(Vec::len).max().unwrap();
            assert!(fullest <= 10, "{fullest} of {number} texts share a bucket");
        }
    }
}
