//! Attributes: what a store or an array carries along in words, as the text of one JSON object.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::IgnoredAny;

use crate::codec::{Reader, Write};
use crate::error::{FormatError, Result};

/// The attributes of a store or of an array. Cheap to clone; the default is to have none.
///
/// ```
/// use numpack_format::Attrs;
/// let attrs = Attrs::new(r#"{"unit": "m"}"#)?;
/// assert_eq!(attrs.as_str(), r#"{"unit": "m"}"#);
/// assert_eq!(Attrs::default().as_str(), "{}");
/// assert!(Attrs::new("[1]").is_err());
/// # Ok::<(), numpack_format::FormatError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attrs(Option<Arc<str>>);

impl Attrs {
    /// Longest text, in bytes.
    pub const MAX_LEN: usize = 1 << 20;

    /// Attributes from the text of a JSON object.
    ///
    /// # Errors
    /// [`FormatError::InvalidAttrs`] for anything else, and for more than [`MAX_LEN`](Self::MAX_LEN)
    /// bytes.
    pub fn new(text: &str) -> Result<Self> {
        let invalid = |reason: String| FormatError::InvalidAttrs { reason };
        if text.len() > Self::MAX_LEN {
            return Err(invalid(format!(
                "{} bytes of JSON, at most {} are possible",
                text.len(),
                Self::MAX_LEN
            )));
        }
        #[expect(
            clippy::zero_sized_map_values,
            reason = "serde reads an object as a map, and only its form matters"
        )]
        let keys: BTreeMap<String, IgnoredAny> = serde_json::from_str(text)
            .map_err(|error| invalid(format!("a JSON object was expected: {error}")))?;
        Ok(Self((!keys.is_empty()).then(|| text.into())))
    }

    /// The text of the JSON object.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("{}")
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that the text takes in a file.
    pub fn byte_len(&self) -> usize {
        self.0.as_ref().map_or(0, |text| text.len())
    }

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_str_u32(self.0.as_deref().unwrap_or_default());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let text = reader.str_u32("attributes")?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        let attrs = Self::new(text).map_err(|error| reader.corrupt(error.to_string()))?;
        // No attributes are written as nothing, so that one state has one form.
        if attrs.is_empty() {
            return Err(reader.corrupt(format!("attributes without a key: {text}")));
        }
        Ok(attrs)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Attributes of all kinds, also none.
    pub(crate) fn any_attrs() -> impl Strategy<Value = Attrs> {
        prop::collection::btree_map("[a-zé\"\\\\]{0,5}", any::<Option<i32>>(), 0..4)
            .prop_map(|map| Attrs::new(&serde_json::to_string(&map).unwrap()).unwrap())
    }

    fn refusal(text: &str) -> String {
        Attrs::new(text).unwrap_err().to_string()
    }

    #[test]
    fn only_an_object_will_do() {
        for text in [
            "",
            "3",
            "[]",
            "\"a\"",
            "{",
            "{} {}",
            "{1: 2}",
            "{\"a\": nan}",
        ] {
            assert!(
                refusal(text).contains("a JSON object was expected"),
                "{text}"
            );
        }
        for text in [
            "{\"a\": [1e999, {\"b\": null}]}",
            " {\"a\":123456789012345678901234567890} ",
        ] {
            assert_eq!(Attrs::new(text).unwrap().as_str(), text);
        }
        for text in ["{}", " { } "] {
            assert!(Attrs::new(text).unwrap().is_empty(), "{text}");
        }
    }

    #[test]
    fn the_length_is_limited() {
        let text = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
        assert_eq!(
            Attrs::new(&text(Attrs::MAX_LEN)).unwrap().byte_len(),
            Attrs::MAX_LEN
        );
        let error = refusal(&text(Attrs::MAX_LEN + 1));
        assert!(
            error.contains("1048577 bytes of JSON, at most 1048576"),
            "{error}"
        );
    }

    #[test]
    fn one_state_has_one_form() {
        let mut bytes = Vec::new();
        bytes.put_str_u32("{ }");
        let error = Attrs::decode(&mut Reader::new(&bytes, "a record")).unwrap_err();
        assert!(error.to_string().contains("without a key"), "{error}");
    }
}
