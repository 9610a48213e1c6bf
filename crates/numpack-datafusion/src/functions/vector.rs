//! Arrow lists as vectors of the kernels.

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, Int8Type, UInt8Type};
use datafusion::common::{Result as DataFusionResult, internal_err};
use numpack_kernels::Vectors;

/// Whether vectors of this type are read in place.
pub(super) fn is_element(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Float16
            | DataType::Float32
            | DataType::Float64
            | DataType::Int8
            | DataType::UInt8
    )
}

/// The values of a list's child.
pub(crate) fn vectors(values: &ArrayRef) -> DataFusionResult<Vectors<'_>> {
    Ok(match values.data_type() {
        // The bits of the halves, under a type that the kernels know.
        DataType::Float16 => Vectors::F16(
            values
                .as_primitive::<Float16Type>()
                .values()
                .inner()
                .typed_data(),
        ),
        DataType::Float32 => Vectors::F32(values.as_primitive::<Float32Type>().values()),
        DataType::Float64 => Vectors::F64(values.as_primitive::<Float64Type>().values()),
        DataType::Int8 => Vectors::I8(values.as_primitive::<Int8Type>().values()),
        DataType::UInt8 => Vectors::U8(values.as_primitive::<UInt8Type>().values()),
        other => return internal_err!("vectors of {other} were not converted"),
    })
}

/// The rows that are whole: neither NULL nor with a NULL among their values.
pub(crate) fn whole(list: &FixedSizeListArray) -> Option<NullBuffer> {
    let width = usize::try_from(list.value_length()).unwrap_or_default();
    let values = list.values();
    let inner = values.nulls().filter(|nulls| nulls.null_count() > 0);
    let inner = inner.map(|nulls| {
        let rows = 0..list.len();
        let row = |i: usize| nulls.slice(i * width, width).null_count() == 0;
        rows.map(row).collect::<NullBuffer>()
    });
    NullBuffer::union(list.nulls(), inner.as_ref())
}
