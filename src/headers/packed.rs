//! Headers in few allocations, for a host that lends its list: an own allocation for each name and value costs the native module
//! some 2,000 instructions a request.

/// A list of headers that grows by copies.
#[derive(Clone, Debug, Default)]
pub struct PackedHeaders {
    names: Vec<u8>,
    values: Vec<u8>,
    /// The start and the end of each header's name and value.
    places: Vec<[(usize, usize); 2]>,
}

/// The usual sizes of a list from RunBlob behind Envoy. A larger one grows.
const NAME_BYTES: usize = 384;
const VALUE_BYTES: usize = 1024;

impl PackedHeaders {
    /// An empty list for this number of headers.
    pub fn with_capacity(count: usize) -> Self {
        Self {
            names: Vec::with_capacity(NAME_BYTES),
            values: Vec::with_capacity(VALUE_BYTES),
            places: Vec::with_capacity(count),
        }
    }

    /// Adds a header.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let starts = (self.names.len(), self.values.len());
        self.names.extend_from_slice(name);
        self.values.extend_from_slice(value);
        self.places.push([(starts.0, self.names.len()), (starts.1, self.values.len())]);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|[name, value]| {
            (
                self.names.get(name.0..name.1).unwrap_or_default(),
                self.values.get(value.0..value.1).unwrap_or_default(),
            )
        })
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let names = &self.names;
        self.places.retain(|[name, _]| names.get(name.0..name.1).is_some_and(&keep));
    }
}

impl FromIterator<(String, Vec<u8>)> for PackedHeaders {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(list: I) -> Self {
        let mut packed = Self::default();
        list.into_iter().for_each(|(name, value)| packed.push(name.as_bytes(), &value));
        packed
    }
}

#[cfg(test)]
mod tests {
    use crate::headers::{Headers, InvalidHeader, PackedHeaders};

    #[test]
    fn reads_like_a_list() {
        let mut packed = PackedHeaders::with_capacity(2);
        for (name, value) in
            [("a", &b"1"[..]), ("", b""), ("b", b"\xff"), ("a", b"2"), ("c", &[b'c'; 3000]), ("d", b"")]
        {
            packed.push(name.as_bytes(), value);
        }
        packed.push(b"\xffa", b"3");
        let mut headers = Headers::from_packed(packed);
        assert_eq!(headers.names().collect::<Vec<_>>(), [&b"a"[..], b"", b"b", b"a", b"c", b"d", b"\xffa"]);
        assert_eq!(headers.one("a"), Err(InvalidHeader::Repeated));
        assert_eq!(headers.one("b"), Err(InvalidHeader::NotText));
        assert_eq!(headers.one("d"), Ok(Some("")));
        assert_eq!(headers.first("c").len(), 3000);
        headers.retain(|name| name != b"a");
        assert_eq!(headers.one("a"), Ok(None));
        assert_eq!(headers.names().collect::<Vec<_>>(), [&b""[..], b"b", b"c", b"d", b"\xffa"]);
        assert_eq!(headers.first("b"), b"\xff");
    }
}
