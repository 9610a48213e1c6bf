//! The rows of an existing array as the source of a new generation.

use std::sync::Arc;

use crate::deletions::Run;
use crate::error::Result;
use crate::pin::Pin;
use crate::staging::RowSource;
use crate::state::ArrayState;

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
