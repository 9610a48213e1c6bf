//! Array names and the file names made from them.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use crate::checksum;
use crate::error::{FormatError, Result};

/// Longest name that is used as it is: the longest file name made from it has 254 bytes.
const MAX_RAW: usize = 240;
/// Longest part of a name that is kept in an escaped stem.
const MAX_PREFIX: usize = 100;
/// Stands between the prefix and the hash of an escaped stem.
const MARK: &str = "%~";
const HASH_DIGITS: usize = 32;

/// The name of an array: any text without NUL, of up to 65,535 bytes.
///
/// Cheap to clone. The name itself lives in the metadata; [`file_stem`](Self::file_stem) is what
/// the directory shows of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArrayName(Arc<str>);

impl ArrayName {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = u16::MAX as usize;

    /// Checks and keeps `name`.
    ///
    /// # Errors
    /// [`FormatError::InvalidName`] if it holds NUL or is longer than [`MAX_LEN`](Self::MAX_LEN).
    pub fn new(name: &str) -> Result<Self> {
        let reason = if name.len() > Self::MAX_LEN {
            format!(
                "{} bytes, at most {} are possible",
                name.len(),
                Self::MAX_LEN
            )
        } else if let Some(at) = name.find('\0') {
            format!("\"{}\" has a NUL at byte {at}", name.replace('\0', "\\0"))
        } else {
            return Ok(Self(name.into()));
        };
        Err(FormatError::InvalidName { reason })
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// XXH3-64 of the name, which binds a trailer entry to its array.
    pub fn hash64(&self) -> u64 {
        checksum::xxh3_64(self.0.as_bytes())
    }

    /// Whether the files of this array carry a hash instead of the plain name.
    ///
    /// That is the case for names with `/`, names over 240 bytes, and names that look like an
    /// escaped stem themselves, so that no two names share a file.
    pub fn is_escaped(&self) -> bool {
        self.0.len() > MAX_RAW || self.0.contains('/') || looks_escaped(&self.0)
    }

    /// What stands for the name in file names. Never contains `/` or NUL.
    pub fn file_stem(&self) -> Cow<'_, str> {
        if !self.is_escaped() {
            return Cow::Borrowed(&self.0);
        }
        let prefix = &self.0[..self.0.floor_char_boundary(MAX_PREFIX)];
        let hash = checksum::xxh3_128(self.0.as_bytes());
        Cow::Owned(format!("{}{MARK}{hash:032x}", prefix.replace('/', "_")))
    }

    /// `data_<stem>.npkd`: the rows.
    pub fn data_file(&self) -> String {
        format!("data_{}.npkd", self.file_stem())
    }

    /// `deleted_<stem>.npkb`: the deletion bitmap.
    pub fn bitmap_file(&self) -> String {
        format!("deleted_{}.npkb", self.file_stem())
    }

    /// `data_<stem>.npkseg`: the list of segments of an array that NumPack 0.7 split.
    pub fn segments_file(&self) -> String {
        format!("data_{}.npkseg", self.file_stem())
    }

    /// `data_<stem>_segments`: the directory of those segments.
    pub fn segments_dir(&self) -> String {
        format!("data_{}_segments", self.file_stem())
    }
}

fn looks_escaped(name: &str) -> bool {
    let Some(at) = name.len().checked_sub(MARK.len() + HASH_DIGITS) else {
        return false;
    };
    name.as_bytes()[at..]
        .strip_prefix(MARK.as_bytes())
        .is_some_and(|hash| {
            hash.iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        })
}

impl fmt::Display for ArrayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ArrayName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ArrayName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::store_files::is_store_file;

    fn stem(name: &str) -> String {
        ArrayName::new(name).unwrap().file_stem().into_owned()
    }

    #[test]
    fn names_that_older_releases_can_store_keep_their_files() {
        let long = "x".repeat(MAX_RAW);
        for name in [
            "", ".", "..", "a b", "a\nb", "a\\b", "a:b", "%2F", "-rf", "CON", "ü", &long,
        ] {
            assert_eq!(stem(name), name);
        }
        let name = ArrayName::new("emb").unwrap();
        assert_eq!(name.data_file(), "data_emb.npkd");
        assert_eq!(name.bitmap_file(), "deleted_emb.npkb");
        assert_eq!(name.segments_file(), "data_emb.npkseg");
        assert_eq!(name.segments_dir(), "data_emb_segments");
        assert!(!name.is_escaped());
    }

    #[test]
    fn other_names_get_a_hash() {
        assert!(stem("x/y").starts_with("x_y%~"));
        assert_ne!(stem("x/y"), stem("x_y"));
        assert_ne!(stem("x/y/z"), stem("x/y_z"));
        assert_eq!(stem(&"x".repeat(MAX_RAW + 1)).len(), MAX_PREFIX + 34);
        // The 100-byte mark falls into a letter of two bytes.
        let umlauts = format!("x{}", "ü".repeat(200));
        assert!(stem(&umlauts).starts_with(&format!("x{}%~", "ü".repeat(49))));
    }

    #[test]
    fn a_name_that_looks_escaped_is_escaped() {
        let escaped = stem("x/y");
        assert_ne!(stem(&escaped), escaped);
        assert_eq!(stem("%~0123"), "%~0123");
        let upper = "%~ABCDEF0123456789ABCDEF0123456789";
        assert_eq!(stem(upper), upper);
    }

    #[test]
    fn nul_and_endless_names_are_refused() {
        let error = ArrayName::new("a\0b").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid array name: \"a\\0b\" has a NUL at byte 1"
        );
        assert!(ArrayName::new(&"x".repeat(ArrayName::MAX_LEN)).is_ok());
        assert!(ArrayName::new(&"x".repeat(ArrayName::MAX_LEN + 1)).is_err());
    }

    proptest! {
        #[test]
        fn every_file_name_is_one_component_of_at_most_255_bytes(name in "[^\0]{0,300}") {
            let name = ArrayName::new(&name).unwrap();
            let files =
                [name.data_file(), name.bitmap_file(), name.segments_file(), name.segments_dir()];
            for file in &files {
                prop_assert!(file.len() <= 255, "{}", file.len());
                prop_assert!(!file.contains(['/', '\0']));
                prop_assert!(is_store_file(file));
            }
            prop_assert_eq!(HashSet::from(files).len(), 4);
        }

        #[test]
        fn different_names_have_different_stems(a in "[/_%~a]{0,8}", b in "[/_%~a]{0,8}") {
            prop_assert_eq!(a == b, stem(&a) == stem(&b));
        }
    }
}
