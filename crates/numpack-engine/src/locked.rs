//! The writer lock over several commits of one thread.

use std::sync::Arc;

use crate::error::Result;
use crate::shared::Shared;
use crate::store::Store;

/// The writer lock of a store, held by the thread that asked for it until this is dropped.
///
/// Commits of this thread go through, also those of other handles of the store in this process; other
/// threads and processes wait with theirs, and nobody waits to read.
#[derive(Debug)]
#[must_use = "the lock is held as long as this lives"]
pub struct Locked {
    shared: Arc<Shared>,
}

impl Store {
    /// Holds the writer lock, for a change that depends on what was read: between the reading and the
    /// commit nobody else writes. A thread that holds it already holds it once more. It does not
    /// survive the process, and a forked child does not have it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use numpack_engine::{Options, Selection, Store};
    /// use numpack_format::{ArrayMeta, DType};
    /// let store = Store::open(&dir.path().join("s.npk"), &Options::default())?;
    /// let one = ArrayMeta::new(DType::UInt8, &[1])?;
    /// let mut save = store.begin()?;
    /// save.put("count", &one, &mut &[6][..])?;
    /// save.commit()?;
    ///
    /// let lock = store.locked()?;
    /// let next = [store.array("count")?.contiguous()?[0] + 1];
    /// let mut change = store.begin()?;
    /// change.replace("count", Selection::Row(0), &one, &next)?;
    /// change.commit()?;
    /// drop(lock);
    /// assert_eq!(&*store.array("count")?.contiguous()?, [7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) after the timeout, naming the holder;
    /// [`Error::Closed`](crate::Error::Closed), [`Error::ReadOnly`](crate::Error::ReadOnly).
    pub fn locked(&self) -> Result<Locked> {
        let shared = self.writable()?;
        if !shared.desk.keep_again() {
            shared.lock(self.options())?.keep();
        }
        Ok(Locked { shared })
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // The lock is the parent's; in a child another of its threads may seem to be at the desk for ever.
        if self.shared.fork == crate::fork::generation() {
            self.shared.desk.give_up();
        }
    }
}
