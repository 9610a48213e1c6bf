//! The fourteen element types and their codes on disk.

use std::fmt;

use crate::error::{FormatError, Result};

/// The type of one element of an array.
///
/// The discriminant is the code in `metadata.npkm` and in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// One byte, 0 or 1; a reader takes any other value for true.
    Bool = 0,
    /// Unsigned, 1 byte.
    UInt8 = 1,
    /// Unsigned, 2 bytes.
    UInt16 = 2,
    /// Unsigned, 4 bytes.
    UInt32 = 3,
    /// Unsigned, 8 bytes.
    UInt64 = 4,
    /// Signed, 1 byte.
    Int8 = 5,
    /// Signed, 2 bytes.
    Int16 = 6,
    /// Signed, 4 bytes.
    Int32 = 7,
    /// Signed, 8 bytes.
    Int64 = 8,
    /// IEEE 754 half precision.
    Float16 = 9,
    /// IEEE 754 single precision.
    Float32 = 10,
    /// IEEE 754 double precision.
    Float64 = 11,
    /// Two `Float32`, real part first.
    Complex64 = 12,
    /// Two `Float64`, real part first.
    Complex128 = 13,
}

struct Facts {
    name: &'static str,
    legacy_name: &'static str,
    numpy_str: &'static str,
    itemsize: usize,
    align: usize,
}

const fn facts(
    name: &'static str,
    legacy_name: &'static str,
    numpy_str: &'static str,
    itemsize: usize,
    align: usize,
) -> Facts {
    Facts {
        name,
        legacy_name,
        numpy_str,
        itemsize,
        align,
    }
}

const FACTS: [Facts; 14] = [
    facts("bool", "Bool", "|b1", 1, 1),
    facts("uint8", "Uint8", "|u1", 1, 1),
    facts("uint16", "Uint16", "<u2", 2, 2),
    facts("uint32", "Uint32", "<u4", 4, 4),
    facts("uint64", "Uint64", "<u8", 8, 8),
    facts("int8", "Int8", "|i1", 1, 1),
    facts("int16", "Int16", "<i2", 2, 2),
    facts("int32", "Int32", "<i4", 4, 4),
    facts("int64", "Int64", "<i8", 8, 8),
    facts("float16", "Float16", "<f2", 2, 2),
    facts("float32", "Float32", "<f4", 4, 4),
    facts("float64", "Float64", "<f8", 8, 8),
    facts("complex64", "Complex64", "<c8", 8, 4),
    facts("complex128", "Complex128", "<c16", 16, 8),
];

impl DType {
    /// Every dtype, in the order of the codes.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::UInt8,
        Self::UInt16,
        Self::UInt32,
        Self::UInt64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Float16,
        Self::Float32,
        Self::Float64,
        Self::Complex64,
        Self::Complex128,
    ];

    const fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }

    /// The code on disk.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The dtype of a code on disk.
    ///
    /// # Errors
    /// [`FormatError::UnknownDType`] for codes above 13.
    pub fn from_code(code: u8) -> Result<Self> {
        Self::ALL
            .get(usize::from(code))
            .copied()
            .ok_or_else(|| FormatError::UnknownDType {
                given: format!("code {code}"),
            })
    }

    /// Bytes of one element.
    pub const fn itemsize(self) -> usize {
        self.facts().itemsize
    }

    /// NumPy's name, such as `float32`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The name that NumPack 0.4 shows in its metadata, such as `Float32`.
    pub const fn legacy_name(self) -> &'static str {
        self.facts().legacy_name
    }

    /// The dtype of NumPy's name for it.
    ///
    /// # Errors
    /// [`FormatError::UnknownDType`] for every other string.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| FormatError::UnknownDType {
                given: format!("\"{name}\""),
            })
    }

    /// NumPy's array-protocol string, such as `<f4` or `|b1`.
    pub const fn numpy_str(self) -> &'static str {
        self.facts().numpy_str
    }

    /// Alignment in bytes of one scalar; of a complex number, that of one of its parts.
    pub const fn align(self) -> usize {
        self.facts().align
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_names_and_sizes_belong_together() {
        for (code, dtype) in (0..).zip(DType::ALL) {
            assert_eq!(dtype.code(), code);
            assert_eq!(DType::from_code(code), Ok(dtype));
            assert_eq!(DType::from_name(dtype.name()), Ok(dtype));
            assert_eq!(dtype.legacy_name().to_lowercase(), dtype.name());
            assert_eq!(dtype.numpy_str()[2..], dtype.itemsize().to_string());
            assert_eq!(dtype.itemsize() % dtype.align(), 0);
            let order = if dtype.itemsize() == 1 { '|' } else { '<' };
            assert!(dtype.numpy_str().starts_with(order), "{dtype}");
        }
        assert_eq!(DType::Complex64.align(), 4);
        assert_eq!(DType::UInt16.legacy_name(), "Uint16");
    }

    #[test]
    fn other_codes_and_names_are_refused() {
        assert!((14..=u8::MAX).all(|code| DType::from_code(code).is_err()));
        let error = DType::from_name("Float32").unwrap_err();
        assert!(error.to_string().contains("\"Float32\""), "{error}");
    }
}
