//! The rows of an existing array as the source of a new generation.

use std::sync::Arc;

use numpack_format::journal::{Content, Kept};
use numpack_format::{ArrayMeta, ArrayName, block_sum};

use crate::deep::touched_blocks;
use crate::deletions::Run;
use crate::error::Result;
use crate::options::Options;
use crate::pin::{Patience, Pin};
use crate::plan::Plan;
use crate::staging::{RowSource, Staged};
use crate::state::{ArrayState, Location};
use crate::sums::BLOCK;
use crate::writer::WriteGuard;

type Pins = [(Run, Arc<Pin>)];

/// All physical rows, some of them replaced.
pub(crate) struct Patched<'a> {
    pins: &'a Pins,
    row_bytes: usize,
    rows: &'a [u8],
    /// Physical row and its row in `rows`, ascending, one for each physical row.
    patches: Vec<(u64, usize)>,
}

impl<'a> Patched<'a> {
    /// Row `i` of `rows` goes to physical row `targets[i]`; the last of several stays.
    pub(crate) fn new(pins: &'a Pins, row_bytes: u64, targets: &[u64], rows: &'a [u8]) -> Self {
        let mut patches: Vec<(u64, usize)> = targets.iter().copied().zip(0..).collect();
        patches.sort_unstable();
        patches.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
        Self {
            pins,
            row_bytes: usize::try_from(row_bytes).unwrap_or(usize::MAX),
            rows,
            patches,
        }
    }
}

/// Rows patched at a time, in bytes.
const PIECE: usize = 512 * 1024;

impl RowSource for Patched<'_> {
    fn write_to(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut patches = self.patches.iter().peekable();
        let step = (PIECE / self.row_bytes.max(1)).max(1);
        let mut buf = Vec::new();
        for (run, pin) in self.pins {
            // A pin may map rows that were appended after this state.
            let len = usize::try_from(run.len).unwrap_or(usize::MAX) * self.row_bytes;
            let pieces = pin.bytes()[..len].chunks(step * self.row_bytes);
            for (rows, piece) in (run.start..).step_by(step).zip(pieces) {
                let end = rows + (piece.len() / self.row_bytes) as u64;
                if patches.peek().is_none_or(|(row, _)| *row >= end) {
                    sink(piece)?;
                    continue;
                }
                buf.clear();
                buf.extend_from_slice(piece);
                while let Some((row, source)) = patches.next_if(|(row, _)| *row < end) {
                    let at = usize::try_from(row - rows).unwrap_or(usize::MAX) * self.row_bytes;
                    let from = source * self.row_bytes;
                    buf[at..at + self.row_bytes]
                        .copy_from_slice(&self.rows[from..from + self.row_bytes]);
                }
                sink(&buf)?;
            }
        }
        Ok(())
    }
}

/// The live rows alone.
pub(crate) struct LiveRows<'a> {
    pins: &'a Pins,
    row_bytes: usize,
    runs: Vec<Run>,
}

impl<'a> LiveRows<'a> {
    pub(crate) fn new(pins: &'a Pins, array: &ArrayState) -> Self {
        let runs = match &array.deletions {
            Some(deletions) => deletions.runs(),
            None => vec![Run {
                start: 0,
                len: array.physical_rows(),
            }],
        };
        let row_bytes = usize::try_from(array.meta.row_bytes()).unwrap_or(usize::MAX);
        Self {
            pins,
            row_bytes,
            runs,
        }
    }
}

impl RowSource for LiveRows<'_> {
    fn write_to(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for run in &self.runs {
            for (file, pin) in self.pins {
                let start = run.start.max(file.start);
                let end = (run.start + run.len).min(file.start + file.len);
                if start < end {
                    let at = |row: u64| {
                        usize::try_from(row - file.start).unwrap_or(usize::MAX) * self.row_bytes
                    };
                    sink(&pin.bytes()[at(start)..at(end)])?;
                }
            }
        }
        Ok(())
    }
}

impl Plan<'_, '_> {
    /// Replaces physical rows `targets` by making a new generation.
    pub(crate) fn rewrite(
        &mut self,
        array: &Arc<ArrayState>,
        targets: &[u64],
        rows: &[u8],
    ) -> Result<()> {
        let pins = self.guard.shared.pin_whole(array, self.options)?;
        let mut source = Patched::new(&pins, array.meta.row_bytes(), targets, rows);
        let mut staged = Staged::create(self.guard.shared)?;
        let replaced = targets.iter().map(|&row| (row, 1));
        let hash = self
            .guard
            .fill_copy(array, &mut staged, &mut source, replaced, self.options)?;
        let (name, meta) = (array.name.clone(), array.meta.clone());
        self.put(name, meta, Content::Hashed(hash), staged, Kept::Deletions)
    }

    /// Saves the live rows of `array` as `name`.
    pub(crate) fn rewrite_live(&mut self, array: &Arc<ArrayState>, name: ArrayName) -> Result<()> {
        let pins = self.guard.shared.pin_whole(array, self.options)?;
        let meta = if array.meta.shape.ndim() == 0 {
            array.meta.clone()
        } else {
            let shape = array
                .meta
                .shape
                .with_rows(array.live_rows(), array.meta.dtype)?;
            ArrayMeta {
                dtype: array.meta.dtype,
                shape,
            }
        };
        let mut source = LiveRows::new(&pins, array);
        let mut staged = Staged::create(self.guard.shared)?;
        let hash = if array.deleted() == 0 {
            let none = std::iter::empty();
            self.guard
                .fill_copy(array, &mut staged, &mut source, none, self.options)?
        } else {
            let hash = staged.fill(name.as_str(), &mut source, meta.byte_len())?;
            let runs = source.runs;
            self.guard
                .gather_sums(array, &mut staged, &runs, self.options)?;
            hash
        };
        self.put(name, meta, Content::Hashed(hash), staged, Kept::Nothing)
    }
}

/// What `work` gives, and the sums of some blocks, which another thread makes if they are many.
fn beside<T>(
    blocks: usize,
    sums: &(dyn Fn() -> Vec<u64> + Sync),
    work: impl FnOnce() -> T,
) -> (T, Vec<u64>) {
    /// Less is done sooner than a thread is made.
    const MANY: usize = 16;
    if blocks < MANY {
        return (work(), sums());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, sums);
        let done = work();
        let made = thread.ok().and_then(|thread| thread.join().ok());
        (done, made.unwrap_or_else(sums))
    })
}

/// The sum of a block of pinned bytes.
fn sum_in(bytes: &[u8], block: u64) -> Option<u64> {
    let start = usize::try_from(block * BLOCK).ok()?;
    let rest = bytes.get(start..)?;
    let len = rest.len().min(usize::try_from(BLOCK).unwrap_or(usize::MAX));
    Some(block_sum(&rest[..len]))
}

impl WriteGuard<'_> {
    /// Fills a copy of an array with all of its rows, and gives it what it may claim of the array's sums.
    /// Rows wait in the journal for the array, or are `replaced`: what the file has of the blocks that they
    /// fall into is compared, beside the copying.
    pub(crate) fn fill_copy(
        &mut self,
        array: &ArrayState,
        staged: &mut Staged,
        rows: &mut dyn RowSource,
        replaced: impl Iterator<Item = (u64, u64)>,
        options: &Options,
    ) -> Result<u128> {
        let (name, len) = (array.name.as_str(), array.meta.byte_len());
        let dir = &*self.shared.dir;
        let single = !matches!(array.location, Location::Segments(_));
        let known = if single {
            self.writer.sums.get(dir, array, None)
        } else {
            None
        };
        let Some(old) = known else {
            return staged.fill(name, rows, len);
        };
        let (_, pieces) = array.overlay.flat();
        let waiting = pieces.iter().map(|piece| (piece.start, piece.len));
        let runs: Vec<(u64, u64)> = replaced.chain(waiting).collect();
        let touched = touched_blocks(&runs, array.meta.row_bytes());
        let base = self.shared.pin(array, Patience::of(options))?;
        let bytes = base.first().map_or(&[][..], |(_, pin)| pin.bytes());
        let bytes = &bytes[..usize::try_from(len).unwrap_or(usize::MAX)];
        let sums = || -> Vec<u64> {
            let sums = touched.iter().map(|&block| sum_in(bytes, block));
            sums.map(Option::unwrap_or_default).collect()
        };
        let (hash, found) = beside(touched.len(), &sums, || staged.fill(name, rows, len));
        if let Some(sums) = &mut staged.sums {
            sums.inherit(old, &touched, &found);
        }
        hash
    }

    /// What a copy of some runs of rows may claim: blocks made of rows that are not what was written have
    /// no sum.
    fn gather_sums(
        &mut self,
        array: &ArrayState,
        staged: &mut Staged,
        runs: &[Run],
        options: &Options,
    ) -> Result<()> {
        let Some(sums) = &mut staged.sums else {
            return Ok(());
        };
        if matches!(array.location, Location::Segments(_)) {
            return Ok(());
        }
        let Some(old) = self.writer.sums.get(&*self.shared.dir, array, None) else {
            return Ok(());
        };
        let base = self.shared.pin(array, Patience::of(options))?;
        let len = usize::try_from(array.meta.byte_len()).unwrap_or(usize::MAX);
        let bytes = base.first().map_or(&[][..], |(_, pin)| &pin.bytes()[..len]);
        let bad = old.not_as(array.meta.byte_len(), |block| sum_in(bytes, block));
        sums.changed = old.changed;
        for block in gathered(&bad, runs, array.meta.row_bytes()) {
            sums.set(block, None);
        }
        Ok(())
    }
}

/// The blocks of a copy of some `runs` of rows that are made of rows in the blocks `bad`, which ascend.
pub(crate) fn gathered(bad: &[u64], runs: &[Run], width: u64) -> Vec<u64> {
    let (mut blocks, mut to) = (Vec::new(), 0);
    for run in runs {
        let (start, end) = (run.start * width, (run.start + run.len) * width);
        let first = bad.partition_point(|&block| (block + 1) * BLOCK <= start);
        for &block in bad[first..]
            .iter()
            .take_while(|&&block| block * BLOCK < end)
        {
            let from = (block * BLOCK).max(start) - start + to;
            let upto = ((block + 1) * BLOCK).min(end) - start + to;
            blocks.extend(from / BLOCK..upto.div_ceil(BLOCK));
        }
        to += end - start;
    }
    blocks
}
