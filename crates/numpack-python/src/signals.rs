//! Ctrl-C while the engine waits.

use std::cell::RefCell;
use std::sync::Arc;

use numpack::Interrupt;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

thread_local! {
    /// What a signal handler raised, until the interrupted call returns on the same thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// The engine's interrupt check: runs Python's signal handlers, and stops the wait if one raises.
pub(crate) fn interrupt() -> Interrupt {
    Arc::new(|| {
        Python::attach(|py| match py.check_signals() {
            Ok(()) => false,
            Err(error) => {
                RAISED.with(|slot| slot.replace(Some(error)));
                true
            }
        })
    })
}

/// Takes what the handler raised.
pub(crate) fn take() -> Option<PyErr> {
    RAISED.with(RefCell::take)
}

/// Lets Ctrl-C be seen a second time, after the consumer of a stream has turned what the handler
/// raised into an error of its own. What other handlers raised is gone with that error.
pub(crate) fn again() {
    let Some(raised) = take() else { return };
    Python::attach(|py| {
        if raised.is_instance_of::<PyKeyboardInterrupt>(py) {
            let interrupted = py
                .import("_thread")
                .and_then(|thread| thread.call_method0("interrupt_main"));
            // Nothing else can be done from inside of a stream.
            drop(interrupted);
        }
    });
}

/// Raises what a signal handler has to raise.
#[pyfunction]
pub(crate) fn check_signals(py: Python<'_>) -> PyResult<()> {
    py.check_signals()
}
