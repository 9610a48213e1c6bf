//! The block sums of copied rows: those that the rows have where they are copied from, right or wrong, and
//! new ones where they have none.

use numpack_format::{BLOCK_LEN, BlockHasher, SumsFile, block_sum};

use crate::deep::read_sums;
use crate::error::{Error, Result};
use crate::fs::{File, read_exact_at};
use crate::options::Interrupt;
use crate::rewrite::gathered;
use crate::snapshot::ArraySnapshot;
use crate::state::Location;
use crate::sums::BLOCK;

/// What is known of a copy.
pub(crate) struct CopySums {
    /// One a block; 0 is unknown.
    pub(crate) sums: Vec<u64>,
    /// Whether something else may have written to the file that was copied.
    pub(crate) changed: bool,
}

fn at(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl CopySums {
    fn unknown(len: u64) -> Self {
        Self {
            sums: vec![0; at(SumsFile::blocks(len))],
            changed: false,
        }
    }

    /// Those of a copy of all of `file`. What it has sums for is not read.
    pub(crate) fn of_file(
        array: &ArraySnapshot,
        file: &dyn File,
        interrupt: Option<&Interrupt>,
    ) -> Result<Self> {
        let len = array.byte_len() as u64;
        let mut made = Self::unknown(len);
        let Ok(known) = known(array) else {
            return Ok(made);
        };
        made.changed = known.is_some() && has_changed(array, file);
        let mut buf = Vec::new();
        for (block, made) in (0..).zip(&mut made.sums) {
            let (start, end) = (block * BLOCK, len.min((block + 1) * BLOCK));
            let old = known
                .as_ref()
                .filter(|known| start < known.data_len)
                .map(|known| (known.data_len, known.sums[at(block)]));
            if let Some((old_len, sum)) = old
                && (end <= old_len || sum == 0)
            {
                *made = sum;
                continue;
            }
            if interrupt.is_some_and(|ask| block % 64 == 0 && ask()) {
                return Err(Error::Interrupted);
            }
            buf.resize(at(end - start), 0);
            read_exact_at(file, &mut buf, start)
                .map_err(|source| Error::io("read", array.name().data_file(), source))?;
            // The checkpoint's last block has been added to.
            if old.is_none_or(|(old_len, sum)| block_sum(&buf[..at(old_len - start)]) == sum) {
                *made = block_sum(&buf);
            }
        }
        Ok(made)
    }

    /// Those of a copy of the live rows, which `hasher` has seen. Blocks made of rows that are not what was
    /// written have none.
    pub(crate) fn of_rows(array: &ArraySnapshot, hasher: BlockHasher) -> Self {
        let Ok(known) = known(array) else {
            return Self::unknown(array.byte_len() as u64);
        };
        let (_, mut sums, tail) = hasher.finish_kept();
        sums.extend(tail.map(|tail| tail.sum()));
        if let (Some(known), [(_, pin)]) = (known, array.pins()) {
            let bytes = &pin.bytes()[..at(known.data_len)];
            let blocks = (0..).zip(bytes.chunks(BLOCK_LEN)).zip(&known.sums);
            let bad = blocks.filter(|((_, bytes), sum)| block_sum(bytes) != **sum);
            let bad: Vec<u64> = bad.map(|((block, _), _)| block).collect();
            for block in gathered(&bad, array.runs(), array.row_bytes() as u64) {
                sums[at(block)] = 0;
            }
        }
        Self {
            sums,
            changed: false,
        }
    }
}

/// What the last checkpoint knew of the rows that were in the file then.
fn known(array: &ArraySnapshot) -> Result<Option<SumsFile>> {
    let state = array.state();
    let rest = match state.at_rest {
        Some(rest) if !matches!(state.location, Location::Segments(_)) => rest,
        _ => return Ok(None),
    };
    let (dir, generation) = (&*array.shared().dir, state.generation);
    let known = read_sums(dir, rest.sums_hash, generation, rest.data_len)?;
    Ok(known.filter(|known| known.data_len <= state.meta.byte_len()))
}

/// Whether a file that nothing was added to is not as the checkpoint left it.
fn has_changed(array: &ArraySnapshot, file: &dyn File) -> bool {
    let state = array.state();
    state.at_rest.is_some_and(|rest| {
        let same_len = rest.data_len == state.meta.byte_len();
        let is_of = || file.stat().is_ok_and(|stat| rest.is_of(&stat));
        rest.mtime_ns == 0 || (same_len && !is_of())
    })
}
