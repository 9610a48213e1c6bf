//! Folding: the rows that wait in the journal are written to their places in the data file.
//!
//! Only what is on disk in the journal may be folded: when the power goes half way through, the journal
//! still has every row. And only while nobody has the file mapped, which the exclusive lock of the
//! inode tells.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use numpack_format::journal::{Content, Frame, Kept, Put, Record};

use crate::error::{Error, Result};
use crate::fs::{File, Lock, read_exact_at, write_all_at};
use crate::index::{PAGE, Patch, Piece};
use crate::options::Durability;
use crate::overlay::Overlay;
use crate::rewrite::Patched;
use crate::staging::Staged;
use crate::state::{ArrayState, State};
use crate::writer::WriteGuard;

/// What came of folding all arrays.
#[derive(Debug)]
pub(crate) enum Folded {
    /// The data files have every row of this state.
    All(State),
    /// Somebody has this many bytes of arrays mapped that are too much to copy.
    Mapped(u64),
}

impl WriteGuard<'_> {
    /// Folds what waits for any array; with `force` also what is mapped, however large.
    pub(crate) fn fold_all(&mut self, flush: bool, force: bool) -> Result<Folded> {
        let waiting = self.waiting(|array| !array.overlay.is_empty());
        let mut mapped = Vec::new();
        for array in &waiting {
            if !self.fold(array, flush, true)? {
                mapped.push(Arc::clone(array));
            }
        }
        let bytes = mapped.iter().map(|array| array.meta.byte_len()).sum();
        if bytes > self.options.limits.copied && !force {
            return Ok(Folded::Mapped(bytes));
        }
        if !mapped.is_empty() {
            self.move_all(&mapped)?;
            if flush {
                self.sync()?;
            }
        }
        let mut state = self.shared.state.read().clone();
        for array in waiting {
            if let Some(array) = state.arrays.get_mut(&array.name) {
                Arc::make_mut(array).overlay = Overlay::default();
            }
        }
        if flush {
            self.flush_folded(&state)?;
        }
        Ok(Folded::All(state))
    }

    /// The arrays with rows in the journal that `choose` picks.
    fn waiting(&self, choose: impl Fn(&ArrayState) -> bool) -> Vec<Arc<ArrayState>> {
        let state = self.shared.state.read();
        let arrays = state.arrays.values();
        arrays.filter(|array| choose(array)).cloned().collect()
    }

    /// Folds the rows of one array, all of which must be on disk in the journal; false if somebody has
    /// the file mapped. The `last` one before a checkpoint makes block sums.
    fn fold(&mut self, array: &ArrayState, flush: bool, last: bool) -> Result<bool> {
        let file = self.data_file(array)?;
        let own = array.name.data_file();
        self.shared.pins.give_back_all();
        if !lock_exclusive(&*file).map_err(|source| self.io("lock", &own, source))? {
            return Ok(false);
        }
        let (patches, pieces) = array.overlay.flat();
        let width = array.meta.row_bytes();
        let book = &mut self.writer.sums;
        if let Some(sums) = book.get(&*self.shared.dir, array, Some(&*file)) {
            sums.before_fold(&patches, &pieces, width, &*file, last);
        }
        let folded = write_pieces(&*file, &patches, &pieces, width, array.meta.byte_len())
            .map_err(|source| self.io("write", &own, source));
        if folded.is_err() {
            self.writer.sums.forget(array.generation);
        }
        let flushed = folded.and_then(|()| {
            if flush {
                file.sync_data()
                    .map_err(|source| self.flush_failed(&own, source))
            } else {
                Ok(())
            }
        });
        if file.unlock().is_err() {
            // Then the lock goes with the descriptor.
            self.writer.data = None;
        }
        flushed.map(|()| true)
    }

    /// Moves mapped arrays, with their rows in their places, to new generations, as one commit.
    fn move_all(&mut self, mapped: &[Arc<ArrayState>]) -> Result<()> {
        let (epoch, lsn) = {
            let seen = self.shared.seen.lock();
            let cursor = seen.cursor.as_ref();
            cursor.map_or((0, 0), |cursor| (cursor.epoch, cursor.lsn))
        };
        let mut settled = State::default();
        let (mut records, mut files) = (Vec::new(), Vec::new());
        for (array, lsn) in mapped.iter().zip(lsn + 1..) {
            let pins = self.shared.pin_whole(array, self.options)?;
            let mut staged = Staged::create(self.shared)?;
            let mut rows = Patched::new(&pins, array.meta.row_bytes(), &[], &[]);
            let none = std::iter::empty();
            let hash = self.fill_copy(array, &mut staged, &mut rows, none, self.options)?;
            staged.release()?;
            if let Some(sums) = staged.sums.take() {
                self.writer.sums.made(staged.generation, sums);
            }
            let put = Put {
                name: array.name.clone(),
                meta: array.meta.clone(),
                generation: staged.generation,
                modified_us: array.modified_us,
                content: Content::Hashed(hash),
                kept: Kept::All,
            };
            let frame = Frame {
                lsn,
                epoch,
                more: false,
                record: Record::Put(put),
            };
            settled.arrays.insert(array.name.clone(), Arc::clone(array));
            settled.apply(&frame).map_err(Error::InvalidArgument)?;
            records.push(frame.record);
            files.push(staged);
        }
        let committed = self.commit(records, &settled, Durability::None);
        // Whether the disk took the records or not, a poisoned store keeps its files.
        if committed.is_ok() || self.shared.poisoned.load(Ordering::Acquire) {
            files.into_iter().for_each(Staged::claim);
        }
        let lsn = committed?;
        self.writer.sums.end();
        for old in mapped {
            self.supersede(old, lsn);
        }
        Ok(())
    }

    /// Flushes the files that rows were folded into before, without a flush.
    fn flush_folded(&mut self, state: &State) -> Result<()> {
        let folded = self.shared.seen.lock().touched.folded.clone();
        for (name, generation) in folded {
            if let Some(array) = state.get(name.as_str())
                && array.generation == generation
            {
                self.data_file(array)?
                    .sync_data()
                    .map_err(|source| self.flush_failed(&name.data_file(), source))?;
            }
        }
        Ok(())
    }

    /// Folds the rows of an array that views would be patched by in too many places, and says so in the
    /// journal. Whether it could or not, it is asked again only after as many pages more.
    pub(crate) fn fold_if_many(&mut self, name: &str, durability: Durability) -> Result<()> {
        let Some(array) = self.shared.state.read().get(name).cloned() else {
            return Ok(());
        };
        let many = self.options.limits.pages;
        let touched = array.overlay.pages_at_most();
        let pages = array.meta.byte_len().div_ceil(PAGE);
        if touched.min(pages) < many && !array.overlay.is_crowded() {
            return Ok(());
        }
        let asked = self.writer.asked.get(&array.generation).copied();
        if touched < asked.unwrap_or(0) {
            return Ok(());
        }
        let exact = array.overlay.pages();
        let more = if exact < many && !array.overlay.is_crowded() {
            many - exact
        } else {
            if durability != Durability::None {
                self.sync()?;
            }
            if self.fold(&array, false, false)? {
                self.writer.asked.remove(&array.generation);
                return self.say_applied(&array);
            }
            many
        };
        self.writer.asked.insert(array.generation, touched + more);
        Ok(())
    }

    /// Folds what waits for arrays that views would be patched by in a good many places: after a flush the
    /// journal is no obstacle.
    pub(crate) fn fold_synced(&mut self) -> Result<()> {
        const PAGES: u64 = 1024;
        // Nothing may be added to such a journal.
        if self.must_checkpoint() {
            return Ok(());
        }
        let least = PAGES.min(self.options.limits.pages);
        let crowded = self.waiting(|array| array.overlay.pages_at_most() > least);
        for array in crowded {
            if self.fold(&array, false, false)? {
                self.say_applied(&array)?;
            }
        }
        Ok(())
    }

    fn say_applied(&mut self, array: &ArrayState) -> Result<()> {
        let applied = Record::Applied {
            name: array.name.clone(),
            generation: array.generation,
            upto: array.overlay.lsn(),
        };
        let mut settled = State::default();
        settled.arrays.insert(array.name.clone(), {
            let mut settled = array.clone();
            settled.overlay = Overlay::default();
            Arc::new(settled)
        });
        let lsn = self.commit(vec![applied], &settled, Durability::None)?;
        self.writer.sums.folded(array.generation, lsn);
        Ok(())
    }
}

/// Takes the exclusive lock, if need be after the moments that a reader needs to look; false when
/// somebody has the file mapped.
fn lock_exclusive(file: &dyn File) -> std::io::Result<bool> {
    for attempt in 0..3 {
        match file.try_lock(Lock::Exclusive) {
            Ok(true) => return Ok(true),
            Ok(false) if attempt < 2 => std::thread::sleep(Duration::from_micros(200)),
            Ok(false) => {}
            // Without locks nobody can tell that the file is not mapped.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Bytes of a file that are read, patched and written as one where many rows lie in them.
const BLOCK: u64 = 64 << 10;
/// Rows in a block from which on that costs less than writing each of them.
const DENSE: usize = 8;

fn write_pieces(
    file: &dyn File,
    patches: &[&Arc<Patch>],
    pieces: &[Piece],
    width: u64,
    file_len: u64,
) -> std::io::Result<()> {
    let mut block: Vec<(u64, &[u8])> = Vec::new();
    let mut buf = Vec::new();
    for piece in pieces {
        let at = piece.start * width;
        if block
            .first()
            .is_some_and(|(first, _)| first / BLOCK != at / BLOCK)
        {
            write_block(file, &block, file_len, &mut buf)?;
            block.clear();
        }
        block.push((at, patches[piece.patch()].bytes(piece)));
    }
    write_block(file, &block, file_len, &mut buf)
}

/// Writes pieces that begin in the same block, ascending.
fn write_block(
    file: &dyn File,
    pieces: &[(u64, &[u8])],
    file_len: u64,
    buf: &mut Vec<u8>,
) -> std::io::Result<()> {
    let (Some(&(first, _)), Some(&(last, bytes))) = (pieces.first(), pieces.last()) else {
        return Ok(());
    };
    let end = last + bytes.len() as u64;
    // The last piece may reach far into the next blocks.
    if pieces.len() < DENSE || end - first > 2 * BLOCK || end > file_len {
        for (at, bytes) in pieces {
            write_all_at(file, bytes, *at)?;
        }
        return Ok(());
    }
    buf.resize(usize::try_from(end - first).unwrap_or(usize::MAX), 0);
    read_exact_at(file, buf, first)?;
    for (at, bytes) in pieces {
        let at = usize::try_from(at - first).unwrap_or(usize::MAX);
        buf[at..at + bytes.len()].copy_from_slice(bytes);
    }
    write_all_at(file, buf, first)
}
