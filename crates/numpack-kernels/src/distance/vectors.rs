use std::borrow::Cow;
use std::ops::Range;

use crate::processor;

/// Vectors of one element type, one after another.
#[derive(Clone, Copy, Debug)]
pub enum Vectors<'a> {
    /// Half precision numbers, as their bits.
    F16(&'a [u16]),
    /// Single precision.
    F32(&'a [f32]),
    /// Double precision.
    F64(&'a [f64]),
    /// Signed bytes.
    I8(&'a [i8]),
    /// Unsigned bytes.
    U8(&'a [u8]),
}

/// Values that are converted at once: what fits in the first cache beside the rows themselves.
const BLOCK: usize = 2048;

impl<'a> Vectors<'a> {
    /// The number of values.
    pub fn len(self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Some of the rows of `width` values.
    ///
    /// # Panics
    /// If there are fewer rows.
    #[must_use]
    pub fn rows(self, width: usize, rows: Range<usize>) -> Vectors<'a> {
        let values = rows.start * width..rows.end * width;
        match self {
            Self::F16(all) => Self::F16(&all[values]),
            Self::F32(all) => Self::F32(&all[values]),
            Self::F64(all) => Self::F64(&all[values]),
            Self::I8(all) => Self::I8(&all[values]),
            Self::U8(all) => Self::U8(&all[values]),
        }
    }

    /// The values as single precision numbers, rounded to the nearest where they are doubles.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding is what is asked for"
    )]
    pub(super) fn to_f32(self) -> Cow<'a, [f32]> {
        match self {
            Self::F16(values) => {
                let mut out = vec![0.0; values.len()];
                processor::widen_halves(values, &mut out);
                out.into()
            }
            Self::F32(values) => values.into(),
            Self::F64(values) => values.iter().map(|&value| value as f32).collect(),
            Self::I8(values) => values.iter().copied().map(f32::from).collect(),
            Self::U8(values) => values.iter().copied().map(f32::from).collect(),
        }
    }

    /// The values as double precision numbers, all exact.
    pub(super) fn to_f64(self) -> Cow<'a, [f64]> {
        match self {
            Self::F64(values) => values.into(),
            Self::F32(values) => values.iter().copied().map(f64::from).collect(),
            Self::I8(values) => values.iter().copied().map(f64::from).collect(),
            Self::U8(values) => values.iter().copied().map(f64::from).collect(),
            Self::F16(_) => self.to_f32().iter().copied().map(f64::from).collect(),
        }
    }

    /// Panics unless these are `rows` rows of `width` values.
    pub(super) fn check(self, width: usize, rows: usize) {
        assert!(
            width.checked_mul(rows) == Some(self.len()),
            "{rows} rows of {width} values are not {} values",
            self.len()
        );
    }
}

/// Calls `each` with a few rows at a time and their part of `out`.
pub(super) fn in_blocks(
    width: usize,
    out: &mut [f64],
    mut each: impl FnMut(Range<usize>, &mut [f64]),
) {
    let rows = (BLOCK / width.max(1)).max(1);
    let mut start = 0;
    for part in out.chunks_mut(rows) {
        let end = start + part.len();
        each(start..end, part);
        start = end;
    }
}
