//! The writer lock, held for a `with` block.

use std::sync::Mutex;

use pyo3::prelude::*;

/// The writer lock of a store, held by the thread that asked for it until `release` or its end.
#[pyclass(frozen, module = "numpack._internal")]
pub(crate) struct Locked(Mutex<Option<numpack::Locked>>);

impl Locked {
    pub(crate) fn new(lock: numpack::Locked) -> Self {
        Self(Mutex::new(Some(lock)))
    }
}

#[pymethods]
impl Locked {
    /// Gives the lock back; nothing happens the second time.
    fn release(&self, py: Python<'_>) {
        let lock = self.0.lock().ok().and_then(|mut lock| lock.take());
        py.detach(|| drop(lock));
    }
}
