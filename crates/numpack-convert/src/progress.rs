//! How far a conversion is.

/// Bytes of rows moved so far and in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of rows that were moved.
    pub done: u64,
    /// Bytes of rows there are to move in the array that is on its way and those before it.
    pub total: u64,
}

/// Counts bytes and tells a listener.
pub(crate) struct Meter<'a> {
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

impl<'a> Meter<'a> {
    pub(crate) fn new(tell: &'a mut dyn FnMut(Progress)) -> Self {
        Self {
            progress: Progress { done: 0, total: 0 },
            tell,
        }
    }

    pub(crate) fn expect(&mut self, bytes: u64) {
        self.progress.total += bytes;
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.progress.done += bytes as u64;
        (self.tell)(self.progress);
    }
}
