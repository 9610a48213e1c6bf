//! What is known of an array without touching its values.

use numpack::ArrayName;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors;

/// Name, dtype, shape and file of one array.
#[pyclass(frozen, module = "numpack._internal")]
pub(crate) struct ArrayInfo(pub(crate) numpack::ArrayInfo);

#[pymethods]
impl ArrayInfo {
    #[getter]
    fn name(&self) -> &str {
        self.0.name.as_str()
    }

    #[getter]
    fn dtype_name(&self) -> &'static str {
        self.0.dtype.legacy_name()
    }

    /// Without deleted rows.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.0.shape)
    }

    /// With deleted rows.
    #[getter]
    fn physical_shape(&self) -> Vec<u64> {
        let mut shape = self.0.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = self.0.physical_rows;
        }
        shape
    }

    #[getter]
    fn data_file(&self) -> &str {
        &self.0.data_file
    }

    #[getter]
    fn modified_us(&self) -> u64 {
        self.0.modified_us
    }

    #[getter]
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes
    }

    #[getter]
    fn deleted(&self) -> u64 {
        self.0.deleted
    }
}

/// The file that an array of this name is kept in, once it is folded.
#[pyfunction]
pub(crate) fn data_file(py: Python<'_>, name: &str) -> PyResult<String> {
    match ArrayName::new(name) {
        Ok(name) => Ok(name.data_file()),
        Err(error) => Err(errors::engine(py, error.into())),
    }
}
