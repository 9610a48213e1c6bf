//! What `verify` has found.

use pyo3::prelude::*;

/// A report of the engine.
#[pyclass(frozen, module = "numpack._internal")]
pub(crate) struct Report(pub(crate) numpack::Report);

#[pymethods]
impl Report {
    #[getter]
    fn ok(&self) -> bool {
        self.0.ok()
    }

    #[getter]
    fn problems(&self) -> Vec<String> {
        self.0.problems.iter().map(ToString::to_string).collect()
    }

    #[getter]
    fn unchecked(&self) -> Vec<String> {
        self.0.unchecked.iter().map(ToString::to_string).collect()
    }

    #[getter]
    fn leftovers(&self) -> Vec<String> {
        self.0.leftovers.clone()
    }

    #[getter]
    fn checked_bytes(&self) -> u64 {
        self.0.checked_bytes
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }
}
