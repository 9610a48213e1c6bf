//! Ctrl-C while the engine waits.

use std::cell::RefCell;
use std::sync::Arc;

use numpack::Interrupt;
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
