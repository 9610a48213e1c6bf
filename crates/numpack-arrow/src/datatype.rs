//! Which array becomes which Arrow type. The one place that says so.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::extension::{
    Bool8, EXTENSION_TYPE_METADATA_KEY, EXTENSION_TYPE_NAME_KEY, ExtensionType, FixedShapeTensor,
};
use arrow_schema::{DataType, Field, FieldRef};
use numpack_engine::{ArrayInfo, ArraySnapshot};
use numpack_format::DType;

use crate::error::{Error, Result};

/// Metadata key of a field whose storage does not tell the NumPy dtype: its value is NumPy's name.
pub const DTYPE_KEY: &str = "numpack.dtype";

/// What the last axis of a tensor is called before the dtype that its storage does not tell.
pub const AXIS_PREFIX: &str = "numpack.";

/// Name of the child of every list, as pyarrow names it.
const ITEM: &str = "item";

/// How arrays are shown as Arrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrowOptions {
    /// Fail rather than copy a single byte. Default: false.
    pub zero_copy_only: bool,
    /// Show bool arrays of rank 0 to 2 as `arrow.bool8`, one byte a value and zero-copy; otherwise
    /// as packed Boolean, which is a copy. Default: true.
    pub bool8: bool,
}

impl Default for ArrowOptions {
    fn default() -> Self {
        Self {
            zero_copy_only: false,
            bool8: true,
        }
    }
}

/// The Arrow type of one array: storage and extension.
///
/// | array | storage | extension |
/// |---|---|---|
/// | real, rank 0 and 1 | primitive | |
/// | real, rank 2 | fixed-size list | |
/// | any, rank 3 up | fixed-size list of a row's values | `arrow.fixed_shape_tensor` |
/// | bool, rank 0 to 2 | Int8 as value or list child, or packed Boolean | `arrow.bool8` |
/// | complex, rank 0 and 1 | fixed-size list of 2 floats | `numpack.complex64` or `128` |
/// | complex, rank 2 up | fixed-size list of floats | `arrow.fixed_shape_tensor`, last axis 2 |
///
/// Values and lists are nullable, though never null, so that the types equal pyarrow's own. Where
/// the storage does not tell the dtype, the field says it under [`DTYPE_KEY`], and a tensor's last
/// axis is named after it, [`AXIS_PREFIX`] first.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrowType {
    data_type: DataType,
    metadata: HashMap<String, String>,
}

impl ArrowType {
    /// The Arrow type of an array of `dtype` whose shape has the dimensions `dims` (all of them;
    /// the first, the number of rows, does not matter). `name` is for the error's text.
    ///
    /// # Errors
    /// [`Error::TooWide`] for rows of more than `i32::MAX` values.
    pub fn new(name: &str, dtype: DType, dims: &[u64], options: &ArrowOptions) -> Result<Self> {
        let rank = dims.len();
        let pair = is_complex(dtype).then_some(2);
        let row_shape: Vec<u64> = dims.iter().skip(1).copied().chain(pair).collect();
        let width = row_shape
            .iter()
            .try_fold(1_u64, |product, &dim| product.checked_mul(dim))
            .unwrap_or(u64::MAX);
        let too_wide = |_| Error::TooWide {
            name: name.to_owned(),
            width,
        };

        let mut metadata = HashMap::new();
        let item = item_type(dtype, rank, options.bool8);
        let bool8 = dtype == DType::Bool && rank <= 2 && options.bool8;
        if row_shape.is_empty() {
            if bool8 {
                extend(&mut metadata, Bool8::NAME, String::new());
            }
            return Ok(Self {
                data_type: item,
                metadata,
            });
        }

        let mut child = Field::new(ITEM, item, true);
        if bool8 {
            child = child.with_metadata(extension(Bool8::NAME, String::new()));
        }
        let size = i32::try_from(width).map_err(too_wide)?;
        if row_shape.len() >= 2 {
            let told = (is_complex(dtype) || dtype == DType::Bool).then(|| dtype.name());
            extend(
                &mut metadata,
                FixedShapeTensor::NAME,
                tensor_shape(&row_shape, told),
            );
            if told.is_some() {
                metadata.insert(DTYPE_KEY.to_owned(), dtype.name().to_owned());
            }
        } else if is_complex(dtype) {
            extend(&mut metadata, complex_name(dtype), String::new());
        }
        Ok(Self {
            data_type: DataType::FixedSizeList(Arc::new(child), size),
            metadata,
        })
    }

    /// The storage type, which is what a bare Arrow array has.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// A field of this type, with the extension in its metadata.
    pub fn field(&self, name: &str) -> Field {
        Field::new(name, self.data_type.clone(), true).with_metadata(self.metadata.clone())
    }

    /// The list child and its width, for arrays whose rows are lists.
    pub(crate) fn list(&self) -> Option<(&FieldRef, i32)> {
        match &self.data_type {
            DataType::FixedSizeList(child, size) => Some((child, *size)),
            _ => None,
        }
    }
}

/// The field of an array: its name, its Arrow type and its extension.
///
/// # Errors
/// [`Error::TooWide`].
pub fn field(array: &ArraySnapshot, options: &ArrowOptions) -> Result<Field> {
    let name = array.name().as_str();
    Ok(ArrowType::new(name, array.dtype(), &array.shape(), options)?.field(name))
}

/// As [`field`], from a description instead of a snapshot.
///
/// # Errors
/// [`Error::TooWide`].
pub fn info_field(info: &ArrayInfo, options: &ArrowOptions) -> Result<Field> {
    let name = info.name.as_str();
    Ok(ArrowType::new(name, info.dtype, &info.shape, options)?.field(name))
}

fn is_complex(dtype: DType) -> bool {
    matches!(dtype, DType::Complex64 | DType::Complex128)
}

fn complex_name(dtype: DType) -> &'static str {
    if dtype == DType::Complex64 {
        "numpack.complex64"
    } else {
        "numpack.complex128"
    }
}

/// The type of one value, before any list around it.
fn item_type(dtype: DType, rank: usize, bool8: bool) -> DataType {
    match dtype {
        DType::Bool if rank <= 2 && !bool8 => DataType::Boolean,
        DType::Bool | DType::Int8 => DataType::Int8,
        DType::UInt8 => DataType::UInt8,
        DType::UInt16 => DataType::UInt16,
        DType::UInt32 => DataType::UInt32,
        DType::UInt64 => DataType::UInt64,
        DType::Int16 => DataType::Int16,
        DType::Int32 => DataType::Int32,
        DType::Int64 => DataType::Int64,
        DType::Float16 => DataType::Float16,
        DType::Float32 | DType::Complex64 => DataType::Float32,
        DType::Float64 | DType::Complex128 => DataType::Float64,
    }
}

fn extend(metadata: &mut HashMap<String, String>, name: &str, value: String) {
    metadata.extend(extension(name, value));
}

fn extension(name: &str, value: String) -> HashMap<String, String> {
    HashMap::from([
        (EXTENSION_TYPE_NAME_KEY.to_owned(), name.to_owned()),
        (EXTENSION_TYPE_METADATA_KEY.to_owned(), value),
    ])
}

/// The tensor's metadata as pyarrow writes it. arrow-rs would add `"dim_names":null` and
/// `"permutations":null`, where Arrow C++ expects arrays or nothing.
///
/// A dtype that the storage does not tell is also the name of the last axis: a pyarrow.Array has a
/// type but no field, and so no place for [`DTYPE_KEY`].
fn tensor_shape(row_shape: &[u64], told: Option<&str>) -> String {
    let dims: Vec<String> = row_shape.iter().map(u64::to_string).collect();
    let names = told.map_or_else(String::new, |dtype| {
        let unnamed = "\"\",".repeat(row_shape.len() - 1);
        format!(",\"dim_names\":[{unnamed}\"{AXIS_PREFIX}{dtype}\"]")
    });
    format!("{{\"shape\":[{}]{names}}}", dims.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow_type(dtype: DType, dims: &[u64]) -> ArrowType {
        ArrowType::new("x", dtype, dims, &ArrowOptions::default()).expect("fits")
    }

    #[test]
    fn every_dtype_has_a_type_at_every_rank() {
        for dtype in DType::ALL {
            for rank in 0..=4 {
                let dims = vec![3; rank];
                for bool8 in [false, true] {
                    let options = ArrowOptions {
                        bool8,
                        ..ArrowOptions::default()
                    };
                    let arrow = ArrowType::new("x", dtype, &dims, &options).expect("fits");
                    let lists = rank >= 2 || is_complex(dtype);
                    assert_eq!(arrow.list().is_some(), lists, "{dtype:?} of rank {rank}");
                }
            }
        }
    }

    #[test]
    fn a_tensor_is_what_arrow_calls_a_tensor() {
        let field = arrow_type(DType::Float32, &[10, 8, 9]).field("images");
        assert_eq!(field.extension_type_name(), Some(FixedShapeTensor::NAME));
        let metadata = field.extension_type_metadata();
        assert_eq!(metadata, Some("{\"shape\":[8,9]}"));
        // arrow-rs takes tensors of non-nullable values only, where pyarrow makes nullable ones; its
        // reading of the metadata is what can be compared.
        let metadata = FixedShapeTensor::deserialize_metadata(metadata).expect("a shape");
        let tensor = FixedShapeTensor::try_new(DataType::Float32, [8, 9], None, None);
        assert_eq!(&metadata, tensor.expect("a tensor").metadata());
        assert_eq!(field.data_type().to_string(), "FixedSizeList(72 x Float32)");
    }

    #[test]
    fn bools_are_bytes_or_bits() {
        let field = arrow_type(DType::Bool, &[10]).field("flag");
        field.try_extension_type::<Bool8>().expect("bool8");
        let rows = arrow_type(DType::Bool, &[10, 3]);
        let (child, size) = rows.list().expect("a list");
        child
            .try_extension_type::<Bool8>()
            .expect("bool8 below the list");
        assert_eq!(size, 3);

        let packed = ArrowOptions {
            bool8: false,
            ..ArrowOptions::default()
        };
        let field = ArrowType::new("x", DType::Bool, &[10], &packed)
            .expect("fits")
            .field("x");
        assert_eq!(field, Field::new("x", DataType::Boolean, true));
        let cube = ArrowType::new("x", DType::Bool, &[1, 2, 3], &packed)
            .expect("fits")
            .field("x");
        assert_eq!(cube.metadata()[DTYPE_KEY], "bool");
    }

    #[test]
    fn complex_numbers_are_pairs() {
        let field = arrow_type(DType::Complex64, &[10]).field("z");
        assert_eq!(field.extension_type_name(), Some("numpack.complex64"));
        assert_eq!(field.data_type().to_string(), "FixedSizeList(2 x Float32)");
        let field = arrow_type(DType::Complex128, &[10, 4]).field("z");
        assert_eq!(
            field.metadata()[EXTENSION_TYPE_METADATA_KEY],
            "{\"shape\":[4,2],\"dim_names\":[\"\",\"numpack.complex128\"]}"
        );
        assert_eq!(field.metadata()[DTYPE_KEY], "complex128");
        assert_eq!(field.data_type().to_string(), "FixedSizeList(8 x Float64)");
    }

    #[test]
    fn a_row_wider_than_a_list_is_refused() {
        let dims = [1, 1 << 20, 1 << 12];
        let error = ArrowType::new("wide", DType::UInt8, &dims, &ArrowOptions::default())
            .expect_err("too wide");
        assert!(
            error
                .to_string()
                .contains("array \"wide\": a row of 4294967296 values")
        );
    }
}
