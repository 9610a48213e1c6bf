//! The fourteen dtypes in NumPy's terms.

use numpack::DType;
use numpy::{Complex32, Complex64, PyArrayDescr, PyArrayDescrMethods, dtype};
use pyo3::prelude::*;

use crate::errors::raise;

/// NumPy's descriptor of a dtype, in native byte order.
pub(crate) fn descr(py: Python<'_>, of: DType) -> Bound<'_, PyArrayDescr> {
    match of {
        DType::Bool => dtype::<bool>(py),
        DType::UInt8 => dtype::<u8>(py),
        DType::UInt16 => dtype::<u16>(py),
        DType::UInt32 => dtype::<u32>(py),
        DType::UInt64 => dtype::<u64>(py),
        DType::Int8 => dtype::<i8>(py),
        DType::Int16 => dtype::<i16>(py),
        DType::Int32 => dtype::<i32>(py),
        DType::Int64 => dtype::<i64>(py),
        DType::Float16 => dtype::<half::f16>(py),
        DType::Float32 => dtype::<f32>(py),
        DType::Float64 => dtype::<f64>(py),
        DType::Complex64 => dtype::<Complex32>(py),
        DType::Complex128 => dtype::<Complex64>(py),
    }
}

/// The dtype that a descriptor stands for, in either byte order; `None` if a store cannot hold it.
pub(crate) fn known(descr: &Bound<'_, PyArrayDescr>) -> Option<DType> {
    // Kind and size, not the type number: NumPy has two numbers for one C integer.
    Some(match (descr.kind(), descr.itemsize()) {
        (b'b', 1) => DType::Bool,
        (b'u', 1) => DType::UInt8,
        (b'u', 2) => DType::UInt16,
        (b'u', 4) => DType::UInt32,
        (b'u', 8) => DType::UInt64,
        (b'i', 1) => DType::Int8,
        (b'i', 2) => DType::Int16,
        (b'i', 4) => DType::Int32,
        (b'i', 8) => DType::Int64,
        (b'f', 2) => DType::Float16,
        (b'f', 4) => DType::Float32,
        (b'f', 8) => DType::Float64,
        (b'c', 8) => DType::Complex64,
        (b'c', 16) => DType::Complex128,
        _ => return None,
    })
}

/// The same, or an error that names the dtype and the array.
pub(crate) fn supported(name: &str, descr: &Bound<'_, PyArrayDescr>) -> PyResult<DType> {
    if let Some(dtype) = known(descr) {
        return Ok(dtype);
    }
    let given: String = descr.getattr("name")?.extract()?;
    Err(raise(
        descr.py(),
        "UnsupportedDTypeError",
        &format!(
            "Unsupported dtype: {given} (array \"{name}\"): a store holds bool, integers, floats \
             of 16 to 64 and complex numbers of 64 and 128 bits"
        ),
    ))
}

/// The name that 0.4.2 gives a dtype, as in `get_metadata`.
#[pyfunction]
pub(crate) fn dtype_name(descr: &Bound<'_, PyArrayDescr>) -> PyResult<&'static str> {
    supported("", descr).map(DType::legacy_name)
}
