//! Bounded little-endian reading and writing: the only place where bytes become integers.

use crate::error::{FormatError, Result};

/// The unread rest of a file or body; every length is checked before it is used.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
    file: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], file: &'static str) -> Self {
        Self {
            rest: bytes,
            total: bytes.len(),
            file,
        }
    }

    /// Bytes not yet read.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> FormatError {
        FormatError::Corrupt {
            file: self.file,
            reason: reason.into(),
        }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.corrupt(format!(
                "{len} bytes expected at offset {}, {} are left",
                self.position(),
                self.remaining()
            )));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// A number that was reached by counting: there is always a next one.
    pub(crate) fn counted(&mut self, what: &str) -> Result<u64> {
        let number = self.u64()?;
        if i64::try_from(number).is_err() {
            return Err(self.corrupt(format!("{what} is {number}, expected at most {}", i64::MAX)));
        }
        Ok(number)
    }

    /// A flag byte: 0 or 1 and nothing else.
    pub(crate) fn bool(&mut self, what: &str) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.corrupt(format!("{what} is {other}, expected 0 or 1"))),
        }
    }

    /// A count of things that take at least `least` bytes each: refused when they cannot fit.
    pub(crate) fn count(&mut self, least: usize, what: &str) -> Result<usize> {
        let count = self.u32()?;
        let fit = self.remaining() / least;
        match usize::try_from(count) {
            Ok(count) if count <= fit => Ok(count),
            _ => Err(self.corrupt(format!(
                "{count} {what} announced, the {} bytes left hold at most {fit}",
                self.remaining()
            ))),
        }
    }

    /// A string behind a length of four bytes.
    pub(crate) fn str_u32(&mut self, what: &str) -> Result<&'a str> {
        let len = self.count(1, "bytes of text")?;
        self.str(len, what)
    }

    /// A string behind a length of two bytes.
    pub(crate) fn str_u16(&mut self, what: &str) -> Result<&'a str> {
        let len = usize::from(self.u16()?);
        self.str(len, what)
    }

    fn str(&mut self, len: usize, what: &str) -> Result<&'a str> {
        let at = self.position();
        std::str::from_utf8(self.bytes(len)?)
            .map_err(|_| self.corrupt(format!("{what} at offset {at} is not UTF-8")))
    }

    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.corrupt(format!("{} bytes follow the end", self.rest.len())))
    }
}

/// Little-endian writing onto the end of a buffer.
pub(crate) trait Write {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&value.to_le_bytes());
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.put(&value.to_le_bytes());
    }

    fn put_u128(&mut self, value: u128) {
        self.put(&value.to_le_bytes());
    }

    /// A count or length in four bytes; what is counted here is bounded when it is made.
    fn put_len_u32(&mut self, len: usize) {
        debug_assert!(u32::try_from(len).is_ok(), "{len} does not fit four bytes");
        self.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    }

    fn put_str_u32(&mut self, text: &str) {
        self.put_len_u32(text.len());
        self.put(text.as_bytes());
    }

    fn put_str_u16(&mut self, text: &str) {
        debug_assert!(
            u16::try_from(text.len()).is_ok(),
            "{} bytes of name",
            text.len()
        );
        self.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        self.put(text.as_bytes());
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The whole words at the start of `bytes`.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
}

/// `value` as it is hashed and stored.
pub(crate) fn u64_bytes(value: u64) -> [u8; 8] {
    value.to_le_bytes()
}

/// `value` as it is hashed and stored.
pub(crate) fn u128_bytes(value: u128) -> [u8; 16] {
    value.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_little_endian() {
        let mut out = Vec::new();
        out.put_u8(1);
        out.put_u16(0x0302);
        out.put_u32(0x0706_0504);
        out.put_i64(-2);
        assert_eq!(out[..7], [1, 2, 3, 4, 5, 6, 7]);
        let mut reader = Reader::new(&out, "a file");
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0302));
        assert_eq!(reader.u32(), Ok(0x0706_0504));
        assert_eq!(reader.i64(), Ok(-2));
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(words(&[1, 0, 0, 0, 0, 0, 0, 0, 9]).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn reading_past_the_end_says_where() {
        let mut reader = Reader::new(&[0; 5], "a file");
        reader.u32().unwrap();
        let error = reader.u64().unwrap_err().to_string();
        assert_eq!(
            error,
            "a file is corrupt: 8 bytes expected at offset 4, 1 are left"
        );
        assert!(reader.finish().is_err());
    }

    #[test]
    fn counts_are_held_against_what_is_left() {
        let bytes = [2, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(Reader::new(&bytes, "a file").count(2, "pairs"), Ok(2));
        assert!(Reader::new(&bytes, "a file").count(3, "triples").is_err());
        assert!(Reader::new(&[0xff; 9], "a file").str_u32("a name").is_err());
        assert!(
            Reader::new(&[1, 0, 0xff], "a file")
                .str_u16("a name")
                .is_err()
        );
    }
}
