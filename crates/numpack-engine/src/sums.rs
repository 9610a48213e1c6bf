//! The block sums of data files while a store is open: made where rows pass anyway, kept by the writer
//! until a checkpoint writes them down.
//!
//! A sum stands for bytes that were written, never for bytes that were found: what is patched or added
//! to is compared with its sum before, and what does not fit has none afterwards.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use numpack_format::{BLOCK_LEN, BlockHasher, PartialBlock, SumsFile, block_sum};

use crate::deep::read_sums;
use crate::fs::{Dir, File, Stat, read_exact_at};
use crate::index::{Patch, Piece};
use crate::state::ArrayState;

pub(crate) const BLOCK: u64 = BLOCK_LEN as u64;

/// What the last checkpoint left of an array's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AtRest {
    pub(crate) data_len: u64,
    pub(crate) ino: u64,
    /// 0 if something else may have written to the file.
    pub(crate) mtime_ns: i64,
    pub(crate) sums_hash: u64,
}

impl AtRest {
    /// Whether a file is the one, and as old as, this says.
    pub(crate) fn is_of(&self, stat: &Stat) -> bool {
        (stat.ino, stat.mtime_ns) == (self.ino, self.mtime_ns)
    }
}

/// The block at the end of a file, if it is not complete.
#[derive(Clone, Debug)]
enum Tail {
    /// As it was written by this process. Boxed: it is large, and most arrays have none.
    Written(Box<PartialBlock>),
    /// As a checkpoint says.
    Sum(u64),
    /// Compared, and then written over: the file has it.
    Stale,
    Unknown,
}

/// The sums of one data file.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    /// Bytes that they are of.
    len: u64,
    /// Of the complete blocks; 0 is unknown.
    blocks: Vec<u64>,
    tail: Tail,
    /// Complete blocks that were compared, and then written over.
    stale: BTreeSet<u64>,
    /// The record up to which this process knows of rows folded into the file.
    folded: u64,
    /// Whether something else may have written to the file.
    pub(crate) changed: bool,
}

/// Blocks that are kept account of without having a sum.
const MOST: u64 = 1 << 20;

fn at(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Sums {
    /// Those of a payload that `hasher` has seen as a whole, and its content hash.
    pub(crate) fn of(hasher: BlockHasher, len: u64) -> (u128, Self) {
        let (hash, blocks, tail) = hasher.finish_kept();
        let tail = tail.map_or(Tail::Unknown, |tail| Tail::Written(Box::new(tail)));
        (hash, Self::new(len, blocks, tail))
    }

    fn new(len: u64, blocks: Vec<u64>, tail: Tail) -> Self {
        Self {
            len,
            blocks,
            tail,
            stale: BTreeSet::new(),
            folded: 0,
            changed: false,
        }
    }

    /// Those of bytes of which nothing is known; none where they would take much memory to say so.
    fn unknown(len: u64) -> Option<Self> {
        (len / BLOCK <= MOST).then(|| Self::new(len, vec![0; at(len / BLOCK)], Tail::Unknown))
    }

    /// Those of zeros; none where they would take much memory for a file that takes no space.
    pub(crate) fn zeros(len: u64) -> Option<Self> {
        if len / BLOCK > MOST {
            return None;
        }
        let zeros = vec![0; BLOCK_LEN];
        let rest = &zeros[..at(len % BLOCK)];
        Some(Self::new(
            len,
            vec![block_sum(&zeros); at(len / BLOCK)],
            Tail::Sum(block_sum(rest)),
        ))
    }

    fn at_rest(file: SumsFile) -> Self {
        let mut blocks = file.sums;
        let complete = at(file.data_len / BLOCK);
        let tail = blocks.get(complete).copied().filter(|&sum| sum != 0);
        blocks.truncate(complete);
        Self::new(file.data_len, blocks, tail.map_or(Tail::Unknown, Tail::Sum))
    }

    /// The sum of a block of which these bytes are known to be in the file; `None` if there is none.
    fn known(&self, block: u64) -> Option<u64> {
        let sum = match self.blocks.get(at(block)) {
            Some(&sum) => sum,
            None if block == self.len / BLOCK => match &self.tail {
                Tail::Written(tail) => tail.sum(),
                Tail::Sum(sum) => *sum,
                Tail::Stale | Tail::Unknown => 0,
            },
            None => 0,
        };
        (sum != 0).then_some(sum)
    }

    fn is_stale(&self, block: u64) -> bool {
        self.stale.contains(&block)
            || (block == self.len / BLOCK && matches!(self.tail, Tail::Stale))
    }

    /// The bytes of a block in the file, as far as they are covered.
    fn read(&self, block: u64, file: &dyn File, buf: &mut Vec<u8>) -> io::Result<()> {
        let start = block * BLOCK;
        buf.resize(at(BLOCK.min(self.len - start)), 0);
        read_exact_at(file, buf, start)
    }

    /// Adds `len` bytes of rows that are written to `file` at `start`, behind everything that is
    /// committed. `head` are those of them that end the block that is begun, `hashed` the sums of their
    /// blocks, of which the first may begin before them, and of the last one begun.
    pub(crate) fn grow(
        &mut self,
        start: u64,
        head: &[u8],
        len: u64,
        hashed: (Vec<u64>, Option<PartialBlock>),
        file: &dyn File,
    ) {
        if start != self.len {
            self.skip_to(start);
        }
        let (mut blocks, mut last) = hashed;
        let filled = start % BLOCK;
        if filled > 0 {
            if let Some(tail) = self.tail_state(file) {
                tail.update(head);
            }
            match blocks.first_mut() {
                Some(first) => *first = self.known(start / BLOCK).unwrap_or(0),
                // The rows end in the block that they begin in.
                None => last = None,
            }
        }
        self.blocks.append(&mut blocks);
        self.len = start + len;
        if let Some(last) = last {
            self.tail = Tail::Written(Box::new(last));
        }
    }

    /// Another process has added rows that nothing is known of.
    fn skip_to(&mut self, len: u64) {
        let complete = at(len / BLOCK);
        if !len.is_multiple_of(BLOCK) || self.len > len {
            self.tail = Tail::Unknown;
        }
        self.blocks.resize(complete, 0);
        self.stale.retain(|&block| at(block) < complete);
        self.len = len;
    }

    /// The last block as far as it goes, found again in the file if need be; none if it is not what was
    /// written.
    fn tail_state(&mut self, file: &dyn File) -> Option<&mut PartialBlock> {
        let wanted = match &self.tail {
            Tail::Written(_) => None,
            Tail::Unknown => return None,
            Tail::Stale => Some(None),
            Tail::Sum(sum) => Some(Some(*sum)),
        };
        if let Some(sum) = wanted {
            let mut buf = Vec::new();
            let read = self.read(self.len / BLOCK, file, &mut buf);
            let state = PartialBlock::of(&buf);
            let fits = read.is_ok() && sum.is_none_or(|sum| sum == state.sum());
            self.tail = if fits {
                Tail::Written(Box::new(state))
            } else {
                Tail::Unknown
            };
        }
        match &mut self.tail {
            Tail::Written(state) => Some(state),
            _ => None,
        }
    }

    /// Prepares for `pieces` to be written over rows of `file`: what is in the blocks that they fall into is
    /// compared first. With `settle` their sums are made at once, and true only once the pieces are
    /// written; else it is noted that they are to be made, once for all that is written until then.
    pub(crate) fn before_fold(
        &mut self,
        patches: &[&Arc<Patch>],
        pieces: &[Piece],
        row_bytes: u64,
        file: &dyn File,
        settle: bool,
    ) {
        let mut buf = Vec::new();
        let (mut seen, mut open) = (None, false);
        for piece in pieces {
            let rows = patches[piece.patch()].bytes(piece);
            let from = piece.start * row_bytes;
            // Rows that another process has added have no sums.
            let to = (from + rows.len() as u64).min(self.len);
            if from >= to {
                continue;
            }
            for block in from / BLOCK..to.div_ceil(BLOCK) {
                let (start, end) = (block * BLOCK, self.len.min((block + 1) * BLOCK));
                if seen != Some(block) {
                    if let Some(seen) = seen.filter(|_| open) {
                        self.settle_block(seen, &buf);
                    }
                    seen = Some(block);
                    let whole = from <= start && end <= to;
                    open = self.before_block(block, whole, settle, file, &mut buf);
                }
                if open {
                    let (first, last) = (from.max(start), to.min(end));
                    buf[at(first - start)..at(last - start)]
                        .copy_from_slice(&rows[at(first - from)..at(last - from)]);
                }
            }
        }
        if let Some(seen) = seen.filter(|_| open) {
            self.settle_block(seen, &buf);
        }
    }

    /// Compares a block that rows are about to be written over, unless they are the `whole` of it. Tells, with
    /// `settle`, whether it is what it should be: `buf` then has it, or room for the whole of it.
    fn before_block(
        &mut self,
        block: u64,
        whole: bool,
        settle: bool,
        file: &dyn File,
        buf: &mut Vec<u8>,
    ) -> bool {
        let (stale, sum) = (self.is_stale(block), self.known(block));
        // What was written over before has nothing to be compared with.
        let nothing = if stale { !settle } else { sum.is_none() };
        if nothing {
            return false;
        }
        let fits = if whole {
            buf.resize(at(BLOCK.min(self.len - block * BLOCK)), 0);
            true
        } else {
            self.read(block, file, buf).is_ok() && (stale || Some(block_sum(buf)) == sum)
        };
        if !stale {
            self.written_over(block, fits);
        }
        settle && fits
    }

    fn written_over(&mut self, block: u64, fits: bool) {
        match self.blocks.get_mut(at(block)) {
            Some(_) if fits => {
                self.stale.insert(block);
            }
            Some(sum) => *sum = 0,
            None if fits => self.tail = Tail::Stale,
            None => self.tail = Tail::Unknown,
        }
    }

    fn settle_block(&mut self, block: u64, bytes: &[u8]) {
        if let Some(sum) = self.blocks.get_mut(at(block)) {
            *sum = block_sum(bytes);
            self.stale.remove(&block);
        } else {
            self.tail = Tail::Written(Box::new(PartialBlock::of(bytes)));
        }
    }

    /// All sums of the first `len` bytes of `file`, what was written over read once more.
    pub(crate) fn settle(&mut self, len: u64, file: &dyn File) -> Vec<u64> {
        if self.len != len {
            self.skip_to(len);
        }
        let mut buf = Vec::new();
        for block in std::mem::take(&mut self.stale) {
            let read = self.read(block, file, &mut buf);
            self.blocks[at(block)] = read.map_or(0, |()| block_sum(&buf));
        }
        if !len.is_multiple_of(BLOCK) && matches!(self.tail, Tail::Stale) {
            let _made_or_unknown = self.tail_state(file);
        }
        let mut sums = self.blocks.clone();
        if !len.is_multiple_of(BLOCK) {
            sums.push(self.known(len / BLOCK).unwrap_or(0));
        }
        sums
    }

    /// These are of a copy of a file that has the sums `old`, with other rows in the blocks `touched`. A
    /// block that is not touched keeps the sum that it had, right or wrong; one that is has a sum only if
    /// what was `found` in it before fits.
    pub(crate) fn inherit(&mut self, old: &mut Self, touched: &[u64], found: &[u64]) {
        if old.len != self.len {
            old.skip_to(self.len);
        }
        for block in 0..SumsFile::blocks(self.len) {
            if old.is_stale(block) {
                continue;
            }
            let before = old.known(block);
            match touched.binary_search(&block) {
                Err(_) => self.set(block, before),
                Ok(i) if before.is_none() || found.get(i).copied() != before => {
                    self.set(block, None);
                }
                Ok(_) => {}
            }
        }
        self.changed = old.changed;
    }

    /// Every block of which `old_block` does not have the sum that is known.
    pub(crate) fn not_as(&mut self, len: u64, old_block: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
        if self.len != len {
            self.skip_to(len);
        }
        (0..SumsFile::blocks(self.len))
            .filter(|&block| !self.is_stale(block))
            .filter(|&block| self.known(block).is_none() || self.known(block) != old_block(block))
            .collect()
    }

    pub(crate) fn set(&mut self, block: u64, sum: Option<u64>) {
        if let Some(known) = self.blocks.get_mut(at(block)) {
            *known = sum.unwrap_or(0);
        } else if self.known(block) != sum {
            // A tail that is as it was stays able to grow.
            self.tail = sum.map_or(Tail::Unknown, Tail::Sum);
        }
    }
}

/// How to take back what a commit that fails has changed.
#[derive(Debug)]
enum Undo {
    Made(u64),
    Grown(u64, u64, Tail),
}

/// The sums of the files that this process has written to since the last checkpoint, by generation.
#[derive(Debug, Default)]
pub(crate) struct SumsBook {
    /// Of the journal that the records are in. Who begins another one has written the files.
    epoch: Option<u64>,
    known: HashMap<u64, Sums>,
    undo: Vec<Undo>,
}

impl SumsBook {
    /// Before changes: forgets those of a commit that failed, and everything if another process has
    /// written a checkpoint.
    pub(crate) fn begin(&mut self, epoch: Option<u64>) {
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            match undo {
                Undo::Made(generation) => {
                    self.known.remove(&generation);
                }
                Undo::Grown(generation, len, tail) => {
                    if let Some(sums) = self.known.get_mut(&generation) {
                        sums.blocks.truncate(at(len / BLOCK));
                        sums.len = len;
                        sums.tail = tail;
                    }
                }
            }
        }
        if self.epoch != epoch {
            self.known.clear();
            self.epoch = epoch;
        }
    }

    /// The changes are committed.
    pub(crate) fn end(&mut self) {
        self.undo.clear();
    }

    pub(crate) fn has(&self, generation: u64) -> bool {
        self.known.contains_key(&generation)
    }

    pub(crate) fn forget(&mut self, generation: u64) {
        self.known.remove(&generation);
    }

    /// The sums of a new generation.
    pub(crate) fn made(&mut self, generation: u64, sums: Sums) {
        self.undo.push(Undo::Made(generation));
        self.known.insert(generation, sums);
    }

    /// What is known of the file of an array; none if nothing is. `file` is looked at to tell whether
    /// something else has written to it.
    pub(crate) fn get(
        &mut self,
        dir: &dyn Dir,
        array: &ArrayState,
        file: Option<&dyn File>,
    ) -> Option<&mut Sums> {
        let generation = array.generation;
        // Another process has folded rows into the file.
        let foreign = |sums: &Sums| sums.folded != array.folded_lsn;
        if self.known.get(&generation).is_some_and(foreign) {
            self.known.remove(&generation);
        }
        if let Entry::Vacant(entry) = self.known.entry(generation) {
            let rest = array.at_rest.as_ref()?;
            let file_sums = read_sums(dir, rest.sums_hash, generation, rest.data_len).ok()??;
            let mut sums = Sums::at_rest(file_sums);
            let stat = match file {
                Some(file) => file.stat(),
                None => dir.stat(&array.name.data_file()),
            };
            sums.changed = rest.mtime_ns == 0 || stat.map_or(true, |stat| !rest.is_of(&stat));
            entry.insert(sums);
        }
        self.known.get_mut(&generation)
    }

    /// The sums of a file that rows are about to be added to.
    pub(crate) fn grow(
        &mut self,
        dir: &dyn Dir,
        array: &ArrayState,
        file: &dyn File,
    ) -> Option<&mut Sums> {
        if self.get(dir, array, Some(file)).is_none() {
            let mut sums = Sums::unknown(array.meta.byte_len())?;
            sums.folded = array.folded_lsn;
            self.known.insert(array.generation, sums);
        }
        let sums = self.known.get_mut(&array.generation)?;
        self.undo
            .push(Undo::Grown(array.generation, sums.len, sums.tail.clone()));
        Some(sums)
    }

    /// This process has told of the rows that it folded into a file.
    pub(crate) fn folded(&mut self, generation: u64, lsn: u64) {
        if let Some(sums) = self.known.get_mut(&generation) {
            sums.folded = lsn;
        }
    }

    /// A renamed file keeps its sums.
    pub(crate) fn renamed(&mut self, from: u64, to: u64) {
        if let Some(sums) = self.known.get(&from).cloned() {
            self.made(to, sums);
        }
    }
}
