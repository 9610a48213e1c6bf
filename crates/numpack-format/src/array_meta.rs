//! What describes the bytes of one array.

use crate::dtype::DType;
use crate::error::Result;
use crate::shape::Shape;

/// The dtype and the shape of one array.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArrayMeta {
    /// Type of an element.
    pub dtype: DType,
    /// Dimensions; made for `dtype`.
    pub shape: Shape,
}

impl ArrayMeta {
    /// Describes an array of `dims` elements of `dtype`.
    ///
    /// # Errors
    /// [`FormatError::InvalidShape`](crate::FormatError::InvalidShape), as [`Shape::new`].
    pub fn new(dtype: DType, dims: &[u64]) -> Result<Self> {
        Ok(Self {
            dtype,
            shape: Shape::new(dims, dtype)?,
        })
    }

    /// Bytes of one row. Saturates if the shape was made for a smaller dtype.
    pub fn row_bytes(&self) -> u64 {
        self.shape
            .row_len()
            .saturating_mul(self.dtype.itemsize() as u64)
    }

    /// Bytes of the array. Saturates if the shape was made for a smaller dtype.
    pub fn byte_len(&self) -> u64 {
        self.shape
            .len()
            .saturating_mul(self.dtype.itemsize() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_bytes() {
        let meta = ArrayMeta::new(DType::Complex128, &[3, 4]).unwrap();
        assert_eq!((meta.row_bytes(), meta.byte_len()), (64, 192));
        let empty_rows = ArrayMeta::new(DType::Int64, &[9, 0]).unwrap();
        assert_eq!((empty_rows.row_bytes(), empty_rows.byte_len()), (0, 0));
    }

    #[test]
    fn a_shape_of_another_dtype_saturates() {
        let shape = Shape::new(&[isize::MAX as u64], DType::UInt8).unwrap();
        let meta = ArrayMeta {
            dtype: DType::Complex128,
            shape,
        };
        assert_eq!(meta.byte_len(), u64::MAX);
    }
}
