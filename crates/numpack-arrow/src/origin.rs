//! Which dtype and row shape an Arrow type stands for: [`ArrowType`](crate::ArrowType) read
//! backwards, and what other libraries write besides.

use arrow_schema::extension::{
    Bool8, EXTENSION_TYPE_METADATA_KEY, EXTENSION_TYPE_NAME_KEY, ExtensionType, FixedShapeTensor,
};
use arrow_schema::{DataType, Field, FieldRef};
use numpack_format::DType;
use serde_json::Value;

use crate::datatype::{AXIS_PREFIX, DTYPE_KEY};

/// What a field says of the array that its values make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) dtype: DType,
    row: Row,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Row {
    /// The lists are the axes.
    Lists,
    /// As above, but for the innermost, which are a number's two parts.
    Pairs,
    /// The axes of a tensor, without the one of a number's parts; `values` in all.
    Tensor { axes: Vec<u64>, values: u64 },
}

impl Origin {
    /// None for types that no dtype stands for.
    pub(crate) fn of(field: &Field) -> Option<Self> {
        let mut path = vec![field];
        while let Some(child) = path.last().and_then(|last| list_child(last.data_type())) {
            path.push(child);
        }
        let [.., leaf] = path.as_slice() else {
            return None;
        };
        let stored = number(leaf.data_type())?;
        if extension(field) == Some(FixedShapeTensor::NAME) {
            return Self::of_tensor(field, stored);
        }
        let above = path.iter().rev().nth(1).and_then(|lists| extension(lists));
        let pairs = |dtype| Self {
            dtype,
            row: Row::Pairs,
        };
        let lists = |dtype| Self {
            dtype,
            row: Row::Lists,
        };
        match (above, stored) {
            (Some("numpack.complex64"), DType::Float32) => Some(pairs(DType::Complex64)),
            (Some("numpack.complex128"), DType::Float64) => Some(pairs(DType::Complex128)),
            (Some("numpack.complex64" | "numpack.complex128"), _) => None,
            (_, DType::Int8) if extension(leaf) == Some(Bool8::NAME) => Some(lists(DType::Bool)),
            _ => Some(lists(stored)),
        }
    }

    fn of_tensor(field: &Field, stored: DType) -> Option<Self> {
        let text = field.metadata().get(EXTENSION_TYPE_METADATA_KEY)?;
        let metadata: Value = serde_json::from_str(text).ok()?;
        let numbers = |key: &str| -> Option<Vec<u64>> {
            let list = metadata.get(key)?.as_array()?;
            list.iter().map(Value::as_u64).collect()
        };
        // The values of a permuted tensor lie in another order than its axes.
        let moved = |(axis, at): (usize, u64)| at != axis as u64;
        if let Some(order) = numbers("permutation")
            && order.into_iter().enumerate().any(moved)
        {
            return None;
        }
        let mut axes = numbers("shape")?;
        let values = axes
            .iter()
            .try_fold(1_u64, |product, &axis| product.checked_mul(axis))?;
        let named = || {
            let last = metadata.get("dim_names")?.as_array()?.last()?;
            last.as_str()?.strip_prefix(AXIS_PREFIX)
        };
        let told = field.metadata().get(DTYPE_KEY).map(String::as_str);
        let dtype = match (told.or_else(named), stored) {
            (Some("bool"), DType::Int8) => DType::Bool,
            (Some("complex64"), DType::Float32) if axes.last() == Some(&2) => DType::Complex64,
            (Some("complex128"), DType::Float64) if axes.last() == Some(&2) => DType::Complex128,
            // An axis may bear any name: one that the values contradict says nothing.
            _ => stored,
        };
        if matches!(dtype, DType::Complex64 | DType::Complex128) {
            axes.pop();
        }
        let row = Row::Tensor { axes, values };
        Some(Self { dtype, row })
    }

    /// The dimensions of `rows` rows whose lists have these widths, outermost first; None where
    /// the widths are not those that the type tells of.
    pub(crate) fn dims(&self, rows: u64, widths: &[u64]) -> Option<Vec<u64>> {
        let row = match &self.row {
            Row::Lists => widths,
            Row::Pairs => widths.strip_suffix(&[2])?,
            Row::Tensor { axes, values } => {
                let given = widths
                    .iter()
                    .try_fold(1_u64, |product, &width| product.checked_mul(width));
                if given != Some(*values) {
                    return None;
                }
                axes
            }
        };
        Some(std::iter::once(rows).chain(row.iter().copied()).collect())
    }
}

/// The dtype that a field stands for and the dimensions of one row, of fixed-size lists or plain values.
///
/// None for types that no array is shown as.
pub fn row_of(field: &Field) -> Option<(DType, Vec<u64>)> {
    let mut widths = Vec::new();
    let mut data_type = field.data_type();
    while let DataType::FixedSizeList(child, width) = data_type {
        widths.push(u64::try_from(*width).ok()?);
        data_type = child.data_type();
    }
    let origin = Origin::of(field)?;
    let mut dims = origin.dims(0, &widths)?;
    Some((origin.dtype, dims.split_off(1)))
}

/// The child of a list of any kind.
pub(crate) fn list_child(of: &DataType) -> Option<&FieldRef> {
    match of {
        DataType::FixedSizeList(child, _)
        | DataType::List(child)
        | DataType::LargeList(child)
        | DataType::ListView(child)
        | DataType::LargeListView(child) => Some(child),
        _ => None,
    }
}

fn extension(field: &Field) -> Option<&str> {
    field
        .metadata()
        .get(EXTENSION_TYPE_NAME_KEY)
        .map(String::as_str)
}

/// The dtype of plain values.
fn number(of: &DataType) -> Option<DType> {
    match of {
        DataType::Boolean => Some(DType::Bool),
        DataType::Int8 => Some(DType::Int8),
        DataType::Int16 => Some(DType::Int16),
        DataType::Int32 => Some(DType::Int32),
        DataType::Int64 => Some(DType::Int64),
        DataType::UInt8 => Some(DType::UInt8),
        DataType::UInt16 => Some(DType::UInt16),
        DataType::UInt32 => Some(DType::UInt32),
        DataType::UInt64 => Some(DType::UInt64),
        DataType::Float16 => Some(DType::Float16),
        DataType::Float32 => Some(DType::Float32),
        DataType::Float64 => Some(DType::Float64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::datatype::{ArrowOptions, ArrowType};

    fn lists(of: DataType, size: i32) -> DataType {
        DataType::FixedSizeList(Arc::new(Field::new("item", of, true)), size)
    }

    fn tensor(of: DataType, size: i32, metadata: &str) -> Field {
        let text = |text: &str| text.to_owned();
        Field::new("t", lists(of, size), true).with_metadata(HashMap::from([
            (text(EXTENSION_TYPE_NAME_KEY), text(FixedShapeTensor::NAME)),
            (text(EXTENSION_TYPE_METADATA_KEY), text(metadata)),
        ]))
    }

    #[test]
    fn every_arrow_type_of_ours_leads_back() {
        let mut cases = 0;
        for dtype in DType::ALL {
            for dims in [&[][..], &[3], &[3, 2], &[3, 2, 4], &[3, 2, 0, 2], &[0, 2]] {
                for bool8 in [false, true] {
                    let options = ArrowOptions {
                        bool8,
                        ..ArrowOptions::default()
                    };
                    let arrow = ArrowType::new("x", dtype, dims, &options).expect("fits");
                    let field = arrow.field("x");
                    let origin = Origin::of(&field).expect("a type of ours");
                    assert_eq!(origin.dtype, dtype, "{field}");
                    let width = arrow.list().map(|(_, width)| u64::try_from(width));
                    let widths: Vec<u64> = width.into_iter().flatten().collect();
                    // Arrow has no arrays without an axis.
                    let expected = if dims.is_empty() { &[3] } else { dims };
                    let found = origin.dims(expected[0], &widths);
                    assert_eq!(found.as_deref(), Some(expected), "{field}");
                    cases += 1;
                }
            }
        }
        assert_eq!(cases, 14 * 6 * 2);
    }

    #[test]
    fn a_bare_tensor_type_tells_the_dtype_by_its_axis() {
        let mut field = ArrowType::new("x", DType::Complex64, &[3, 4], &ArrowOptions::default())
            .expect("fits")
            .field("x");
        assert!(field.metadata_mut().remove(DTYPE_KEY).is_some());
        let origin = Origin::of(&field).expect("a tensor");
        assert_eq!(origin.dtype, DType::Complex64);
        assert_eq!(origin.dims(3, &[8]), Some(vec![3, 4]));
    }

    #[test]
    fn tensors_of_others() {
        let named = r#"{"shape":[2,3],"dim_names":["shape","numpack.complex64"]}"#;
        let origin = Origin::of(&tensor(DataType::Float32, 6, named)).expect("a tensor");
        assert_eq!(origin.dtype, DType::Float32, "no axis of 2 values");
        assert_eq!(origin.dims(5, &[6]), Some(vec![5, 2, 3]));
        assert_eq!(origin.dims(5, &[7]), None, "not the shape's product");

        let in_order = r#"{ "permutation": [0, 1], "shape": [2, 3] }"#;
        assert!(Origin::of(&tensor(DataType::Int8, 6, in_order)).is_some());
        for unreadable in [
            r#"{"shape":[2,3],"permutation":[1,0]}"#,
            r#"{"shape":[2,-3]}"#,
            r#"{"shape":[18446744073709551615,2]}"#,
            "{}",
            "",
        ] {
            let field = tensor(DataType::Int8, 6, unreadable);
            assert_eq!(Origin::of(&field), None, "{unreadable}");
        }
    }

    #[test]
    fn complex_numbers_need_pairs_of_their_floats() {
        let complex = |of| {
            Field::new("z", lists(of, 2), true).with_metadata(HashMap::from([(
                EXTENSION_TYPE_NAME_KEY.to_owned(),
                "numpack.complex64".to_owned(),
            )]))
        };
        let origin = Origin::of(&complex(DataType::Float32)).expect("complex");
        assert_eq!(origin.dims(7, &[2]), Some(vec![7]));
        assert_eq!(origin.dims(7, &[3]), None);
        assert_eq!(Origin::of(&complex(DataType::Float64)), None);
        assert_eq!(Origin::of(&complex(DataType::Int32)), None);

        let rows = Arc::new(complex(DataType::Float32));
        let lists = Field::new("l", DataType::LargeList(rows), true);
        let origin = Origin::of(&lists).expect("lists of complex");
        assert_eq!(origin.dtype, DType::Complex64);
        assert_eq!(origin.dims(7, &[5, 2]), Some(vec![7, 5]));
    }

    #[test]
    fn what_no_dtype_stands_for() {
        for other in [
            DataType::Null,
            DataType::Utf8,
            DataType::Date32,
            DataType::Decimal128(10, 2),
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int32)),
            DataType::Duration(arrow_schema::TimeUnit::Second),
        ] {
            assert_eq!(Origin::of(&Field::new("x", other.clone(), true)), None);
            assert_eq!(Origin::of(&Field::new("x", lists(other, 2), true)), None);
        }
    }
}
