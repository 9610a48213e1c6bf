//! Folding: the rows that wait in the journal are written to their places in the data file.
//!
//! Only what is on disk in the journal may be folded: when the power goes half way through, the journal
//! still has every row. And only while nobody has the file mapped, which the exclusive lock of the
//! inode tells.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use numpack_format::journal::{Content, Frame, Kept, Put, Record};

use crate::acquire::open_generation;
use crate::error::{Error, Result};
use crate::fs::{File, Lock, Open, read_exact_at, write_all_at};
use crate::index::{PAGE, Patch, Piece};
use crate::options::Durability;
use crate::overlay::Overlay;
use crate::rewrite::Patched;
use crate::staging::Staged;
use crate::state::{ArrayState, Location, State};
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
        let mut mapped = self.shown_beyond_its_end()?;
        let waiting = self.arrays(|array| !array.overlay.is_empty());
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

    /// Arrays that nothing waits for, with files that are longer than their rows and that somebody has mapped.
    /// After a failed flush there may be rows behind the end that were taken back while somebody shows them:
    /// the file must not be cut, nor have others written there.
    fn shown_beyond_its_end(&mut self) -> Result<Vec<Arc<ArrayState>>> {
        let mut shown = Vec::new();
        if !self.shared.seen.lock().recovery_due {
            return Ok(shown);
        }
        let whole = self.arrays(|array| {
            let single = !matches!(array.location, Location::Segments(_));
            // Rows of another program were not taken back.
            array.generation != 0 && single && array.overlay.is_empty()
        });
        for array in whole {
            let (dir, own) = (&*self.shared.dir, array.name.data_file());
            let opened = open_generation(dir, &array.name, array.generation, Open::Read);
            let stat = match opened.and_then(|(file, _)| file.stat()) {
                Ok(stat) => stat,
                // A lost file is reported to whoever reads the array.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => return Err(self.io("find", &own, source)),
            };
            if stat.len > array.meta.byte_len() {
                match self.lock_unmapped(&array)? {
                    Some(file) => self.unlock(&*file),
                    None => shown.push(array),
                }
            }
        }
        Ok(shown)
    }

    /// The arrays that `choose` picks.
    fn arrays(&self, choose: impl Fn(&ArrayState) -> bool) -> Vec<Arc<ArrayState>> {
        let state = self.shared.state.read();
        let arrays = state.arrays.values();
        arrays.filter(|array| choose(array)).cloned().collect()
    }

    /// The data file of an array, locked so that nobody maps it; none if somebody does.
    fn lock_unmapped(&mut self, array: &ArrayState) -> Result<Option<Arc<dyn File>>> {
        let file = self.data_file(array)?;
        self.shared.pins.give_back_all();
        let locked = lock_exclusive(&*file)
            .map_err(|source| self.io("lock", &array.name.data_file(), source))?;
        Ok(locked.then_some(file))
    }

    fn unlock(&mut self, file: &dyn File) {
        if file.unlock().is_err() {
            // Then the lock goes with the descriptor.
            self.writer.data = None;
        }
    }

    /// Folds the rows of one array, all of which must be on disk in the journal; false if somebody has
    /// the file mapped. The `last` one before a checkpoint makes block sums.
    fn fold(&mut self, array: &ArrayState, flush: bool, last: bool) -> Result<bool> {
        let Some(file) = self.lock_unmapped(array)? else {
            return Ok(false);
        };
        let own = array.name.data_file();
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
        self.unlock(&*file);
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
        let crowded = array.overlay.is_crowded(array.physical_rows());
        if touched.min(pages) < many && !crowded {
            return Ok(());
        }
        let first = array.overlay.first();
        let asked = self.writer.asked.get(&array.generation);
        if asked.is_some_and(|&(of, at)| of == first && touched < at) {
            return Ok(());
        }
        // Counted exactly only where it matters: that takes as long as half a fold.
        let exact = if crowded { many } else { array.overlay.pages() };
        let more = if exact < many {
            many - exact
        } else {
            // Where somebody looks, the flush would be for nothing.
            if let Some(file) = self.lock_unmapped(&array)? {
                self.unlock(&*file);
                if durability != Durability::None {
                    self.sync()?;
                }
                if self.fold(&array, false, false)? {
                    self.writer.asked.remove(&array.generation);
                    return self.say_applied(&array);
                }
            }
            many
        };
        let again = (first, touched + more);
        self.writer.asked.insert(array.generation, again);
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
        let crowded = self.arrays(|array| array.overlay.pages_at_most() > least);
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

/// A part of a file that is read, patched and written back where many rows lie in it, together with its
/// neighbours of which the same holds.
const BLOCK: u64 = 64 << 10;
/// Rows in a block from which on that costs less than writing each of them.
const DENSE: usize = 8;
/// Bytes written at once: a write costs what the pages do that the kernel keeps together, up to 2 MiB,
/// however few of them it is to.
const LONGEST: u64 = 512 << 10;

fn write_pieces(
    file: &dyn File,
    patches: &[&Arc<Patch>],
    pieces: &[Piece],
    width: u64,
    file_len: u64,
) -> std::io::Result<()> {
    let bytes = |piece: &Piece| (piece.start * width, patches[piece.patch()].bytes(piece));
    let mut dense = Dense::default();
    for group in
        pieces.chunk_by(|one, next| one.start * width / BLOCK == next.start * width / BLOCK)
    {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let rows = first.start * width..last.end() * width;
        // The last piece may reach far into the next blocks.
        if group.len() < DENSE || rows.end - rows.start > 2 * BLOCK || rows.end > file_len {
            dense.write(file)?;
            for (at, rows) in group.iter().map(bytes) {
                write_all_at(file, rows, at)?;
            }
            continue;
        }
        let blocks = rows.start / BLOCK..rows.end.div_ceil(BLOCK);
        if !dense.reaches(&blocks) {
            dense.write(file)?;
        }
        dense.add(&rows, group.iter().map(bytes));
    }
    dense.write(file)
}

/// Rows, ascending, in blocks next to each other that all have many.
#[derive(Default)]
struct Dense<'a> {
    bytes: Range<u64>,
    pieces: Vec<(u64, &'a [u8])>,
    buf: Vec<u8>,
}

impl<'a> Dense<'a> {
    /// Whether these blocks are as near as is worth writing at once.
    fn reaches(&self, blocks: &Range<u64>) -> bool {
        self.bytes.end.div_ceil(BLOCK) >= blocks.start
            && blocks.end * BLOCK - self.bytes.start <= LONGEST
    }

    fn add(&mut self, bytes: &Range<u64>, pieces: impl Iterator<Item = (u64, &'a [u8])>) {
        if self.pieces.is_empty() {
            self.bytes.start = bytes.start;
        }
        self.bytes.end = bytes.end;
        self.pieces.extend(pieces);
    }

    /// Writes them, with what is between them as it is in the file, and begins anew.
    fn write(&mut self, file: &dyn File) -> std::io::Result<()> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let (start, len) = (self.bytes.start, self.bytes.end - self.bytes.start);
        self.buf
            .resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        read_exact_at(file, &mut self.buf, start)?;
        for (at, bytes) in self.pieces.drain(..) {
            let at = usize::try_from(at - start).unwrap_or(usize::MAX);
            self.buf[at..at + bytes.len()].copy_from_slice(bytes);
        }
        write_all_at(file, &self.buf, start)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::fs::{Fs as _, MemoryFs, Open};

    const WIDTH: u64 = 40;
    const BLOCKS: u64 = 25;

    fn byte(n: usize) -> u8 {
        u8::try_from(n % 251).unwrap()
    }

    #[test]
    fn blocks_next_to_each_other_are_written_at_once_up_to_a_length() {
        let of = |blocks: Range<u64>| Dense {
            bytes: blocks.start * BLOCK + 1..blocks.end * BLOCK - 1,
            ..Dense::default()
        };
        assert!(of(0..1).reaches(&(1..2)) && of(0..2).reaches(&(1..3)));
        assert!(!of(0..1).reaches(&(2..3)));
        let most = LONGEST / BLOCK;
        assert!(of(0..most - 1).reaches(&(most - 1..most)));
        assert!(!of(0..most).reaches(&(most..most + 1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Blocks with no, few, many and all rows in any order, and a piece as long as several of them.
        #[test]
        fn rows_of_many_blocks_are_all_written(
            steps in prop::collection::vec(prop_oneof![Just(0), Just(700), Just(60), Just(7), Just(1)], 25),
            long in 0..BLOCKS * BLOCK / WIDTH - 5000,
            cut in 0..2000_u64,
        ) {
            let rows_each = BLOCK / WIDTH + 1;
            let mut runs: Vec<(u64, u64)> = Vec::new();
            for (block, &step) in (0..BLOCKS).zip(&steps) {
                let first = (block * BLOCK).div_ceil(WIDTH);
                let rows = (first..first + rows_each).step_by(if step == 0 { 1 << 20 } else { step });
                runs.extend(rows.filter(|row| (row * WIDTH) / BLOCK == block).map(|row| (row, 1)));
            }
            runs.retain(|&(row, _)| !(long..long + 5000).contains(&row));
            let at = runs.partition_point(|&(row, _)| row < long);
            runs.insert(at, (long, 5000));
            let count: u64 = runs.iter().map(|run| run.1).sum();
            let patch = Arc::new(Patch {
                runs: runs.into(),
                rows: (0..usize::try_from(count * WIDTH).unwrap()).map(byte).collect(),
                row_bytes: usize::try_from(WIDTH).unwrap(),
            });
            // The last rows may end where the file does, or behind it.
            let len = (BLOCKS * BLOCK - cut).max((long + 5000) * WIDTH);
            let mut model = vec![255; usize::try_from(len).unwrap()];
            let dir = MemoryFs::default().open_dir(Path::new("d"), true).unwrap();
            let file = dir.open("data", Open::Create).unwrap();
            write_all_at(&*file, &model, 0).unwrap();
            for (at, bytes) in patch.placed() {
                model.resize(model.len().max(at + bytes.len()), 0);
                model[at..at + bytes.len()].copy_from_slice(bytes);
            }
            let pieces: Vec<Piece> = patch.pieces(0).collect();
            write_pieces(&*file, &[&patch], &pieces, WIDTH, len).unwrap();
            let mut written = vec![0; model.len()];
            read_exact_at(&*file, &mut written, 0).unwrap();
            prop_assert!(written == model);
            prop_assert_eq!(file.stat().unwrap().len, model.len() as u64);
        }
    }
}
