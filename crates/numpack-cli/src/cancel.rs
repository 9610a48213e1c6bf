//! Ctrl-C while a query runs.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::SIGINT;
use signal_hook::low_level::unregister;

/// Whether somebody wants the running query to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Whether the query is to stop.
    pub(crate) fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The next query is not stopped by what was typed during the last one.
    pub(crate) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// From here on Ctrl-C asks the query to stop, instead of ending the process.
    pub(crate) fn watch(&self) -> std::io::Result<Watch> {
        Ok(Watch(signal_hook::flag::register(
            SIGINT,
            Arc::clone(&self.0),
        )?))
    }
}

/// Ends with its drop.
#[derive(Debug)]
pub(crate) struct Watch(SigId);

impl Drop for Watch {
    fn drop(&mut self) {
        unregister(self.0);
    }
}
