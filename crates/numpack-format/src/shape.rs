//! Shapes whose size in bytes is known to fit the address space.

use std::fmt;

use crate::dtype::DType;
use crate::error::{FormatError, Result};

/// Most dimensions an array can have, as in NumPy.
pub const MAX_NDIM: usize = 64;

/// The dimensions of an array, checked when made.
///
/// The product of the dimensions that are not zero, times the size of an element, is at most
/// `isize::MAX`, so that no stride and no offset inside the array can overflow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape(Vec<u64>);

impl Shape {
    /// A shape for elements of `dtype`.
    ///
    /// # Errors
    /// [`FormatError::InvalidShape`] for more than [`MAX_NDIM`] dimensions, or for a size in bytes
    /// beyond `isize::MAX`.
    pub fn new(dims: &[u64], dtype: DType) -> Result<Self> {
        Self::from_vec(dims.to_vec(), dtype)
    }

    pub(crate) fn from_vec(dims: Vec<u64>, dtype: DType) -> Result<Self> {
        let shape = Self(dims);
        let ndim = shape.ndim();
        if ndim > MAX_NDIM {
            return Err(FormatError::InvalidShape {
                reason: format!("{ndim} dimensions, at most {MAX_NDIM} are possible"),
            });
        }
        // A zero must not hide an overflow of the others: strides skip it.
        let bytes = shape
            .0
            .iter()
            .filter(|&&dim| dim != 0)
            .try_fold(dtype.itemsize() as u64, |bytes, &dim| {
                bytes.checked_mul(dim)
            })
            .filter(|&bytes| isize::try_from(bytes).is_ok());
        if bytes.is_none() {
            return Err(FormatError::InvalidShape {
                reason: format!("{shape} of {dtype} takes more than {} bytes", isize::MAX),
            });
        }
        Ok(shape)
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[u64] {
        &self.0
    }

    /// How many dimensions there are.
    pub fn ndim(&self) -> usize {
        self.0.len()
    }

    /// The first dimension; 1 for a 0-d array.
    pub fn rows(&self) -> u64 {
        self.0.first().copied().unwrap_or(1)
    }

    /// The dimensions of one row.
    pub fn row_dims(&self) -> &[u64] {
        self.0.get(1..).unwrap_or_default()
    }

    /// Elements in one row.
    pub fn row_len(&self) -> u64 {
        self.row_dims().iter().product()
    }

    /// Elements in the array.
    #[expect(clippy::len_without_is_empty, reason = "a shape is not a collection")]
    pub fn len(&self) -> u64 {
        self.0.iter().product()
    }

    /// The same row shape with another number of rows.
    ///
    /// # Errors
    /// [`FormatError::InvalidShape`] when the result is too large, or when a 0-d array is to have
    /// other than one row.
    pub fn with_rows(&self, rows: u64, dtype: DType) -> Result<Self> {
        let mut dims = self.0.clone();
        match dims.first_mut() {
            Some(first) => *first = rows,
            None if rows == 1 => {}
            None => {
                return Err(FormatError::InvalidShape {
                    reason: format!("an array without dimensions cannot have {rows} rows"),
                });
            }
        }
        Self::from_vec(dims, dtype)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_row_length_follow_the_dimensions() {
        let shape = Shape::new(&[5, 2, 3], DType::Float32).unwrap();
        assert_eq!((shape.rows(), shape.row_len(), shape.len()), (5, 6, 30));
        assert_eq!(shape.row_dims(), [2, 3]);
        assert_eq!(shape.to_string(), "[5, 2, 3]");
        assert_eq!(
            shape.with_rows(0, DType::Float32).unwrap().dims(),
            [0, 2, 3]
        );

        let scalar = Shape::new(&[], DType::Float32).unwrap();
        assert_eq!((scalar.rows(), scalar.row_len(), scalar.len()), (1, 1, 1));
        assert_eq!(scalar.to_string(), "[]");
        assert_eq!(scalar.with_rows(1, DType::Float32).unwrap(), scalar);
        assert!(scalar.with_rows(2, DType::Float32).is_err());
    }

    #[test]
    fn sizes_beyond_the_address_space_are_refused() {
        let most = isize::MAX as u64;
        assert!(Shape::new(&[most], DType::UInt8).is_ok());
        assert!(Shape::new(&[most], DType::UInt16).is_err());
        assert!(Shape::new(&[1 << 32, 1 << 32], DType::Bool).is_err());
        // NumPy does not let a zero excuse the other dimensions either.
        assert!(Shape::new(&[0, 1 << 32, 1 << 32], DType::Bool).is_err());
        assert!(Shape::new(&[0, u64::MAX], DType::Bool).is_err());
        assert!(Shape::new(&[0, 7], DType::Bool).is_ok());
        assert!(
            Shape::new(&[0], DType::Int8)
                .unwrap()
                .with_rows(u64::MAX, DType::Int8)
                .is_err()
        );
    }

    #[test]
    fn at_most_64_dimensions() {
        assert!(Shape::new(&[1; MAX_NDIM], DType::Bool).is_ok());
        assert!(Shape::new(&[1; MAX_NDIM + 1], DType::Bool).is_err());
    }
}
