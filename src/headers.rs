//! Request headers as bytes, and the one reader of a decisive header. A header is decisive if the gate acts on its value.

#[cfg(not(target_family = "wasm"))]
mod packed;

#[cfg(not(target_family = "wasm"))]
pub use packed::PackedHeaders;

/// The headers of a request as the host lists them: names in lower case, values as raw bytes, one item for each repeat.
#[derive(Clone, Debug, Default)]
pub struct Headers(HeaderItems);

#[cfg(target_family = "wasm")]
type HeaderItems = Vec<(String, Vec<u8>)>;
#[cfg(not(target_family = "wasm"))]
type HeaderItems = PackedHeaders;

/// Why a decisive header has no value to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidHeader {
    /// It is repeated, or its value has a comma.
    Repeated,
    /// Its value has a byte outside visible ASCII and space.
    NotText,
}

impl InvalidHeader {
    /// The class of the value, for a detail.
    pub(crate) const fn found(self) -> &'static str {
        match self {
            InvalidHeader::Repeated => "is repeated",
            InvalidHeader::NotText => "is not visible ASCII",
        }
    }
}

impl Headers {
    /// Takes the host's list.
    pub fn new(list: Vec<(String, Vec<u8>)>) -> Self {
        Self(list.into_iter().collect())
    }

    /// Takes a host's list that is packed.
    #[cfg(not(target_family = "wasm"))]
    pub fn from_packed(packed: PackedHeaders) -> Self {
        Self(packed)
    }

    /// The only value of `name`; `None` if the header is absent.
    ///
    /// # Errors
    /// [`InvalidHeader`] for a repeated header and for a value outside visible ASCII and space. A comma counts as a
    /// repeat: Envoy joins some repeated headers (`content-encoding`, `x-forwarded-proto`) into `a,b`.
    ///
    /// ```
    /// use blobgate::headers::{Headers, InvalidHeader};
    ///
    /// let headers = Headers::new(vec![
    ///     ("content-length".to_owned(), b"7".to_vec()),
    ///     ("x-forwarded-proto".to_owned(), b"https,http".to_vec()),
    /// ]);
    /// assert_eq!(headers.one("content-length"), Ok(Some("7")));
    /// assert_eq!(headers.one("content-encoding"), Ok(None));
    /// assert_eq!(headers.one("x-forwarded-proto"), Err(InvalidHeader::Repeated));
    /// ```
    pub fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, InvalidHeader> {
        let mut values = self.all(name);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b',';
        if values.next().is_some() {
            return Err(InvalidHeader::Repeated);
        }
        if !value.iter().all(is_plain) {
            let is_list = value.contains(&b',');
            return Err(if is_list { InvalidHeader::Repeated } else { InvalidHeader::NotText });
        }
        std::str::from_utf8(value).map(Some).map_err(|_| InvalidHeader::NotText)
    }

    /// The members of a list header, over all of its lines. Empty members do not count (RFC 9110, section 5.6.1.2).
    pub fn members<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let members = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
    }

    /// The first raw value of `name`, or nothing. Use it for pseudo-headers, which HTTP does not allow to repeat.
    pub fn first(&self, name: &str) -> &[u8] {
        self.iter().find(|(key, _)| *key == name.as_bytes()).map_or(&[], |(_, value)| value)
    }

    /// Removes each header whose name `keep` rejects.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        #[cfg(target_family = "wasm")]
        self.0.retain(|(name, _)| keep(name.as_bytes()));
        #[cfg(not(target_family = "wasm"))]
        self.0.retain(keep);
    }

    /// Every raw value of `name`.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
    }

    /// Every name, once for each repeat.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().map(|(name, _)| name)
    }

    #[cfg(target_family = "wasm")]
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()))
    }

    #[cfg(not(target_family = "wasm"))]
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn one(values: &[&[u8]], expected: Result<Option<&str>, InvalidHeader>) {
        let headers = Headers::new(values.iter().map(|v| ("x".to_owned(), v.to_vec())).collect());
        assert_eq!(headers.one("x"), expected);
    }

    #[test]
    fn lists_members_without_empty_ones() {
        let values = [&b"identity"[..], b"", b" , a ,\tB\t,,", b"\xff"];
        let headers = Headers::new(values.iter().map(|v| ("x".to_owned(), v.to_vec())).collect());
        assert_eq!(headers.members("x").collect::<Vec<_>>(), [&b"identity"[..], b"a", b"B", b"\xff"]);
        assert_eq!(headers.members("y").count(), 0);
    }

    #[test]
    fn tells_absent_present_repeated_and_binary_apart() {
        one(&[], Ok(None));
        one(&[b""], Ok(Some("")));
        one(&[b"https"], Ok(Some("https")));
        one(&[b"a", b"a"], Err(InvalidHeader::Repeated));
        one(&[b"a,b"], Err(InvalidHeader::Repeated));
        one(&[b"\xff"], Err(InvalidHeader::NotText));
        one(&["ä".as_bytes()], Err(InvalidHeader::NotText));
        one(&[b"a\tb"], Err(InvalidHeader::NotText));
    }
}
