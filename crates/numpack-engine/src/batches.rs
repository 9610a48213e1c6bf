//! An array in batches of rows, with a thread that reads ahead.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::error::Result;
use crate::fork;
use crate::memory::OwnedBuffer;
use crate::snapshot::ArraySnapshot;

/// Most batches that are read before they are asked for.
const AHEAD: usize = 3;
/// Bytes of them; one is read ahead in any case.
const BYTES: usize = 64 << 20;
/// Bytes that the thread reads at once: whoever ends it, or forks, waits for so many.
const PIECE: usize = 8 << 20;
/// Smaller batches are copied in less time than it takes to wake a thread.
const LEAST: usize = 64 << 10;

/// The live rows of a snapshot, some at a time, each batch in memory of its own.
///
/// From the second batch on another thread reads ahead, up to three batches and 64 MiB, or one batch: while the
/// caller works, the next ones are copied, and from the disk if need be. Where the caller does not work but waits
/// for a batch that the thread is at, it copies the one after. After an error the next call gives the next batch.
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
    /// Dropped first: the snapshot is not to be given up by the thread.
    reader: Option<Reader>,
    source: Arc<Source>,
    /// The batch to give next.
    next: u64,
}

#[derive(Debug)]
struct Source {
    snapshot: ArraySnapshot,
    step: u64,
    count: u64,
    /// Most batches to read ahead.
    ahead: usize,
    /// Bytes that the thread reads at once.
    piece: usize,
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
    closed: AtomicBool,
}

/// The next batches to give.
#[derive(Debug, Default)]
struct Turn {
    first: u64,
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// Somebody is at it.
    Taken,
    Done(Result<OwnedBuffer>),
}

impl ArraySnapshot {
    /// The live rows in batches of `rows`; the last one may have fewer. 0 counts as 1, and a 0-d array has one
    /// row.
    pub fn batches(&self, rows: u64) -> Batches {
        let step = rows.max(1);
        let len = usize::try_from(step).unwrap_or(usize::MAX);
        let len = len.saturating_mul(self.row_bytes());
        let source = Source {
            snapshot: self.clone(),
            step,
            count: self.rows().div_ceil(step),
            ahead: match len {
                0..LEAST => 0,
                len => (BYTES / len).clamp(1, AHEAD),
            },
            piece: PIECE,
        };
        Batches {
            reader: None,
            source: Arc::new(source),
            next: 0,
        }
    }
}

impl Source {
    fn rows(&self, number: u64) -> Range<u64> {
        let start = number * self.step;
        start..start.saturating_add(self.step).min(self.snapshot.rows())
    }

    fn buffer(&self, rows: &Range<u64>) -> Result<OwnedBuffer> {
        let rows = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        OwnedBuffer::new(rows.saturating_mul(self.snapshot.row_bytes()))
    }

    fn read(&self, number: u64) -> Result<OwnedBuffer> {
        let rows = self.rows(number);
        let mut buffer = self.buffer(&rows)?;
        self.snapshot.read_range(rows, buffer.as_mut())?;
        Ok(buffer)
    }

    /// As [`read`](Self::read), piece by piece with `each`, until that says that there is no need.
    fn read_by(
        &self,
        number: u64,
        each: impl Fn(&mut dyn FnMut() -> Result<()>) -> Option<Result<()>>,
    ) -> Option<Result<OwnedBuffer>> {
        let row_bytes = self.snapshot.row_bytes();
        let mut rows = self.rows(number);
        let mut buffer = match self.buffer(&rows) {
            Ok(buffer) => buffer,
            Err(error) => return Some(Err(error)),
        };
        let mut out = buffer.as_mut();
        while !rows.is_empty() {
            let most = (self.piece / row_bytes.max(1)).max(1);
            let end = rows.start.saturating_add(most as u64).min(rows.end);
            let piece = rows.start..end;
            let len = usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX);
            let (now, later) = out.split_at_mut(len.saturating_mul(row_bytes));
            if let Err(error) = each(&mut || self.snapshot.read_range(piece.clone(), now))? {
                return Some(Err(error));
            }
            (rows.start, out) = (end, later);
        }
        Some(Ok(buffer))
    }
}

impl Turn {
    /// Before batch `first` of `count`.
    fn new(first: u64, count: u64, ahead: usize) -> Self {
        let mut turn = Self {
            first,
            ..Self::default()
        };
        turn.fill(count, ahead);
        turn
    }

    /// Makes room for the batches that may be read now.
    fn fill(&mut self, count: u64, ahead: usize) {
        while self.slots.len() < ahead && self.first + (self.slots.len() as u64) < count {
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
            turn: Mutex::new(Turn::new(first, source.count, source.ahead)),
            ..Desk::default()
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
        while !self.is_closed() && turn.first < source.count {
            let Some(number) = turn.take() else {
                self.changed.wait(&mut turn);
                continue;
            };
            drop(turn);
            let read = self.put(number, || {
                source.read_by(number, |piece| self.unless_closed(piece))
            });
            if read.is_err() {
                // Whoever asks for the batch meets the same.
                return;
            }
            turn = self.turn.lock();
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Does a piece of work, unless a thread forks just now: a child would inherit what is locked for it.
    fn unless_closed(&self, piece: &mut dyn FnMut() -> Result<()>) -> Option<Result<()>> {
        while !self.is_closed() {
            if let Some(done) = fork::unless_forking(&mut *piece) {
                return Some(done);
            }
            std::thread::yield_now();
        }
        None
    }

    /// Puts down what comes of a batch that was taken.
    fn put(
        &self,
        number: u64,
        read: impl FnOnce() -> Option<Result<OwnedBuffer>>,
    ) -> std::thread::Result<()> {
        let (slot, ended) = match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Some(read)) => (Slot::Done(read), Ok(())),
            Ok(None) => (Slot::Free, Ok(())),
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
                    turn.fill(source.count, source.ahead);
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
            if let Err(panic) = self.put(number, || Some(source.read(number))) {
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
        let worth = self.source.ahead > 0 && number > 0 && self.next < self.source.count;
        if self.reader.is_none() && worth {
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
        self.desk.closed.store(true, Ordering::Relaxed);
        // Not between its look and its sleep.
        drop(self.desk.turn.lock());
        self.desk.changed.notify_all();
        if let Some(thread) = thread {
            // A panic there is none here.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use numpack_format::{ArrayMeta, DType};

    use super::*;
    use crate::options::Options;
    use crate::store::Store;

    fn source(rows: u64, width: u64, step: u64, piece: usize) -> Source {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.npk"), &Options::default()).unwrap();
        let meta = ArrayMeta::new(DType::UInt8, &[rows, width]).unwrap();
        let mut save = store.begin().unwrap();
        if rows * width < 1 << 20 {
            let len = usize::try_from(meta.byte_len()).unwrap();
            let bytes: Vec<u8> = (0..251).cycle().take(len).collect();
            save.put("a", &meta, &mut &*bytes).unwrap();
        } else {
            save.create("a", &meta).unwrap();
        }
        save.commit().unwrap();
        let Batches { source, .. } = store.array("a").unwrap().batches(step);
        let source = Arc::into_inner(source).unwrap();
        Source { piece, ..source }
    }

    #[test]
    fn pieces_make_the_batch() {
        for piece in [1, 7, 8, 30, 1 << 20] {
            let source = source(103, 7, 50, piece);
            for number in 0..3 {
                let pieces = Cell::new(0);
                let each = |piece: &mut dyn FnMut() -> Result<()>| {
                    pieces.set(pieces.get() + 1);
                    Some(piece())
                };
                let read = source.read_by(number, each).unwrap().unwrap();
                assert_eq!(read.as_ref(), source.read(number).unwrap().as_ref());
                let rows = if number < 2 { 50 } else { 3 };
                assert_eq!(pieces.get(), usize::div_ceil(rows, (piece / 7).max(1)));
            }
            // Whoever says so ends it between two of them.
            let left = Cell::new(2);
            let each = |piece: &mut dyn FnMut() -> Result<()>| {
                left.set(left.get() - 1);
                (left.get() > 0).then(piece)
            };
            let ended = source.read_by(0, each).is_none();
            assert_eq!(ended, 50 > (piece / 7).max(1));
        }
    }

    #[test]
    fn less_is_read_ahead_of_long_batches_and_nothing_of_short_ones() {
        let ahead = |step| source(300, 1 << 20, step, PIECE).ahead;
        assert_eq!([1, 20, 30, 64, 65, 200].map(ahead), [3, 3, 2, 1, 1, 1]);
        assert_eq!(
            [1, LEAST as u64 / 8 - 1].map(|step| source(9, 8, step, PIECE).ahead),
            [0, 0]
        );
    }

    #[test]
    fn batches_are_taken_in_order_and_no_further_than_the_window() {
        let mut turn = Turn::new(1, 7, 3);
        let taken = [0; 4].map(|_| turn.take());
        assert_eq!(taken, [Some(1), Some(2), Some(3), None]);
        turn.put(2, Slot::Free);
        assert_eq!(turn.take(), Some(2));
        turn.slots.pop_front();
        turn.first += 1;
        turn.fill(7, 3);
        assert_eq!([turn.take(), turn.take()], [Some(4), None]);
        let mut last = Turn::new(6, 7, 3);
        assert_eq!([last.take(), last.take()], [Some(6), None]);
    }
}
