//! An array in batches of rows, with a thread that reads ahead.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::error::Result;
use crate::fork;
use crate::memory::OwnedBuffer;
use crate::snapshot::ArraySnapshot;

/// Batches that are read before they are asked for.
const AHEAD: usize = 3;
/// Smaller batches are copied in less time than it takes to wake a thread.
const LEAST: usize = 64 << 10;

/// The live rows of a snapshot, some at a time, each batch in memory of its own.
///
/// From the second batch on another thread reads ahead, by three batches at most: while the caller works,
/// the next ones are copied, and from the disk if need be. Where the caller does not work but waits for a batch
/// that the thread is at, it copies the one after.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use numpack_engine::{Options, Store};
/// use numpack_format::{ArrayMeta, DType};
/// # let store = Store::open(&dir.path().join("s.npk"), &Options::default())?;
/// # let mut save = store.begin()?;
/// save.put("a", &ArrayMeta::new(DType::UInt8, &[5])?, &mut &[0, 1, 2, 3, 4][..])?;
/// save.commit()?;
/// let mut sizes = Vec::new();
/// for batch in store.array("a")?.batches(2) {
///     sizes.push(batch?.as_ref().len());
/// }
/// assert_eq!(sizes, [2, 2, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Batches {
    source: Arc<Source>,
    /// The batch to give next.
    next: u64,
    reader: Option<Reader>,
}

#[derive(Debug)]
struct Source {
    snapshot: ArraySnapshot,
    step: u64,
    count: u64,
}

/// The thread that reads ahead, and what it and its user tell each other.
#[derive(Debug)]
struct Reader {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
    /// In a forked child there is no such thread, and the desk may be locked for ever.
    fork: u64,
}

#[derive(Debug, Default)]
struct Desk {
    turn: Mutex<Turn>,
    changed: Condvar,
}

/// The next batches to give.
#[derive(Debug, Default)]
struct Turn {
    first: u64,
    slots: VecDeque<Slot>,
    closed: bool,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// Somebody is at it.
    Taken,
    Done(Result<OwnedBuffer>),
}

impl ArraySnapshot {
    /// The live rows in batches of `rows`, of which there is one at least; the last may have fewer. A 0-d array
    /// has one row.
    pub fn batches(&self, rows: u64) -> Batches {
        let step = rows.max(1);
        Batches {
            source: Arc::new(Source {
                snapshot: self.clone(),
                step,
                count: self.rows().div_ceil(step),
            }),
            next: 0,
            reader: None,
        }
    }
}

impl Source {
    fn read(&self, number: u64) -> Result<OwnedBuffer> {
        let start = number * self.step;
        let end = start.saturating_add(self.step).min(self.snapshot.rows());
        let rows = usize::try_from(end - start).unwrap_or(usize::MAX);
        let mut buffer = OwnedBuffer::new(rows.saturating_mul(self.snapshot.row_bytes()))?;
        self.snapshot.read_range(start..end, buffer.as_mut())?;
        Ok(buffer)
    }

    /// Whether it is worth a thread to read batch `number` and those after it.
    fn is_long(&self, number: u64) -> bool {
        let step = usize::try_from(self.step).unwrap_or(usize::MAX);
        let len = step.saturating_mul(self.snapshot.row_bytes());
        (1..self.count.saturating_sub(1)).contains(&number) && len >= LEAST
    }
}

impl Turn {
    fn new(first: u64, count: u64) -> Self {
        let mut turn = Self {
            first,
            ..Self::default()
        };
        turn.fill(count);
        turn
    }

    /// Makes room for the batches that may be read now.
    fn fill(&mut self, count: u64) {
        while self.slots.len() <= AHEAD && self.first + (self.slots.len() as u64) < count {
            self.slots.push_back(Slot::Free);
        }
    }

    /// The first batch that nobody is at, for whoever asks.
    fn take(&mut self) -> Option<u64> {
        let at = self.slots.iter().position(|s| matches!(s, Slot::Free))?;
        self.slots[at] = Slot::Taken;
        Some(self.first + at as u64)
    }

    fn put(&mut self, number: u64, slot: Slot) {
        let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot;
        }
    }
}

impl Reader {
    fn start(source: &Arc<Source>, first: u64) -> Option<Self> {
        let desk = Arc::new(Desk {
            turn: Mutex::new(Turn::new(first, source.count)),
            changed: Condvar::new(),
        });
        let (source, there) = (Arc::clone(source), Arc::clone(&desk));
        let thread = std::thread::Builder::new()
            .name("numpack-batches".to_owned())
            .spawn(move || there.read_ahead(&source))
            .ok()?;
        Some(Self {
            desk,
            thread: Some(thread),
            fork: fork::generation(),
        })
    }

    fn is_here(&self) -> bool {
        self.fork == fork::generation()
    }
}

impl Desk {
    fn read_ahead(&self, source: &Source) {
        let mut turn = self.turn.lock();
        while !turn.closed && turn.first < source.count {
            let Some(number) = turn.take() else {
                self.changed.wait(&mut turn);
                continue;
            };
            drop(turn);
            // A child would inherit what is locked for the read.
            let read = loop {
                match fork::unless_forking(|| self.read(source, number)) {
                    Some(read) => break read,
                    None => std::thread::yield_now(),
                }
            };
            if read.is_err() {
                // Whoever asks for the batch meets the same.
                return;
            }
            turn = self.turn.lock();
        }
    }

    /// Reads a batch that was taken.
    fn read(&self, source: &Source, number: u64) -> std::thread::Result<()> {
        let read = catch_unwind(AssertUnwindSafe(|| source.read(number)));
        let (slot, ended) = match read {
            Ok(read) => (Slot::Done(read), Ok(())),
            Err(panic) => (Slot::Free, Err(panic)),
        };
        self.turn.lock().put(number, slot);
        self.changed.notify_one();
        ended
    }

    /// The next batch; None behind the last.
    fn next(&self, source: &Source) -> Option<Result<OwnedBuffer>> {
        let mut turn = self.turn.lock();
        loop {
            match turn.slots.pop_front()? {
                Slot::Done(read) => {
                    turn.first += 1;
                    turn.fill(source.count);
                    self.changed.notify_one();
                    return Some(read);
                }
                other => turn.slots.push_front(other),
            }
            let Some(number) = turn.take() else {
                self.changed.wait(&mut turn);
                continue;
            };
            drop(turn);
            if let Err(panic) = self.read(source, number) {
                resume_unwind(panic);
            }
            turn = self.turn.lock();
        }
    }
}

impl Iterator for Batches {
    type Item = Result<OwnedBuffer>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        if number >= self.source.count {
            return None;
        }
        self.next += 1;
        if self.reader.is_none() && self.source.is_long(number) {
            self.reader = Reader::start(&self.source, number);
        }
        match self.reader.as_ref().filter(|reader| reader.is_here()) {
            Some(reader) => reader.desk.next(&self.source),
            None => Some(self.source.read(number)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.source.count - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let thread = self.thread.take();
        if !self.is_here() {
            std::mem::forget(thread);
            return;
        }
        self.desk.turn.lock().closed = true;
        self.desk.changed.notify_all();
        if let Some(thread) = thread {
            // A panic there is none here.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_taken_in_order_and_no_further_than_the_window() {
        let mut turn = Turn::new(1, 7);
        assert_eq!(
            [0; 5].map(|_| turn.take()),
            [Some(1), Some(2), Some(3), Some(4), None]
        );
        turn.put(2, Slot::Free);
        assert_eq!(turn.take(), Some(2));
        turn.slots.pop_front();
        turn.first += 1;
        turn.fill(7);
        assert_eq!([turn.take(), turn.take()], [Some(5), None]);
        let mut last = Turn::new(6, 7);
        assert_eq!([last.take(), last.take()], [Some(6), None]);
    }
}
