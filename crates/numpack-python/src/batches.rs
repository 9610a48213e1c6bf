//! `Batches`: an array in batches of rows, read ahead; the Rust half of `StreamLoader`.

use std::sync::{Mutex, PoisonError};

use numpack::{ArraySnapshot, DType};
use pyo3::prelude::*;

use crate::array_view::dims;
use crate::errors;
use crate::ndarray;

/// Iterates over ndarrays.
#[pyclass(frozen, module = "numpack._internal")]
pub(crate) struct Batches {
    /// None while being dropped.
    engine: Mutex<Option<numpack::Batches>>,
    dtype: DType,
    /// Of the whole array.
    shape: Vec<usize>,
    row_bytes: usize,
}

impl Batches {
    /// Batches of `rows` rows, which have a byte at least.
    pub(crate) fn of(snapshot: &ArraySnapshot, rows: u64) -> Self {
        Self {
            engine: Mutex::new(Some(snapshot.batches(rows))),
            dtype: snapshot.dtype(),
            shape: dims(snapshot),
            row_bytes: snapshot.row_bytes(),
        }
    }
}

#[pymethods]
impl Batches {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let next = errors::detached(py, || {
            let batches = self.engine.lock();
            let mut batches = batches.unwrap_or_else(PoisonError::into_inner);
            batches.as_mut().and_then(Iterator::next).transpose()
        })?;
        let Some(buffer) = next else {
            return Ok(None);
        };
        let mut shape = self.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = buffer.as_ref().len() / self.row_bytes;
        }
        ndarray::over_owned(py, buffer, self.dtype, &shape).map(Some)
    }
}

impl Drop for Batches {
    /// Waits for the thread that reads ahead, without the interpreter.
    fn drop(&mut self) {
        let engine = self.engine.get_mut();
        let engine = engine.unwrap_or_else(PoisonError::into_inner).take();
        Python::try_attach(|py| py.detach(|| drop(engine)));
    }
}
