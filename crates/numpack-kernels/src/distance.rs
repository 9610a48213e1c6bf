//! Distances between vectors: rows of numbers against one query, or row against row.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the processor that was found"
)]

mod fallback;
mod lanes;
mod query;
mod vectors;

pub use query::Query;
pub use vectors::Vectors;

use crate::processor::{self, Work};
use lanes::{Rows, Sums};

/// What stands in a result for a cosine distance that does not exist, because one of the vectors is
/// all zeros. It is a NaN that no arithmetic gives; compare the bits.
pub const UNDEFINED: f64 = f64::from_bits(0x7ff8_0000_0000_0dfe);

/// How far apart two vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// `sqrt(sum((a - b)^2))`.
    L2,
    /// `sum((a - b)^2)`.
    L2Squared,
    /// `1 - sum(a * b) / sqrt(sum(a^2) * sum(b^2))`, between 0 and 2, and [`UNDEFINED`] for a vector
    /// of zeros.
    Cosine,
    /// `sum(a * b)`, which grows as vectors come closer.
    InnerProduct,
}

impl Metric {
    /// The result, from the sums over a pair of vectors. NaN is always the positive one, which sorts
    /// behind all numbers: the processor's own is negative.
    #[inline(always)]
    fn finish(self, sums: Sums) -> f64 {
        let value = match self {
            Self::L2 => sums.ab.sqrt(),
            Self::L2Squared | Self::InnerProduct => sums.ab,
            Self::Cosine if sums.aa == 0.0 || sums.bb == 0.0 => return UNDEFINED,
            Self::Cosine => (1.0 - sums.ab / (sums.aa.sqrt() * sums.bb.sqrt())).clamp(0.0, 2.0),
        };
        if value.is_nan() { f64::NAN } else { value }
    }
}

/// Writes the distance between row `i` of `a` and row `i` of `b` into `out[i]`.
///
/// Vectors of different types meet in `f64` if one of them is, and in `f32` otherwise. [`Query`]
/// says how exact the results are.
///
/// ```
/// use numpack_kernels::{Metric, Vectors, distances_between};
///
/// let mut out = [0.0; 2];
/// let (a, b) = (Vectors::F32(&[0.0, 3.0, 1.0, 1.0]), Vectors::I8(&[4, 0, 1, 1]));
/// distances_between(Metric::L2, a, b, 2, &mut out);
/// assert_eq!(out, [5.0, 0.0]);
/// ```
///
/// # Panics
/// If `a` or `b` does not hold `out.len()` rows of `width` values.
pub fn distances_between(
    metric: Metric,
    a: Vectors<'_>,
    b: Vectors<'_>,
    width: usize,
    out: &mut [f64],
) {
    fn run<'a, T>(metric: Metric, a: &'a [T], b: &'a [T], width: usize, out: &'a mut [f64])
    where
        Rows<'a, T>: Work,
    {
        let step = width;
        processor::run(Rows {
            metric,
            a,
            b,
            width,
            step,
            out,
        });
    }
    a.check(width, out.len());
    b.check(width, out.len());
    match (a, b) {
        (Vectors::F32(a), Vectors::F32(b)) => run(metric, a, b, width, out),
        (Vectors::F64(a), Vectors::F64(b)) => run(metric, a, b, width, out),
        (Vectors::I8(a), Vectors::I8(b)) => run(metric, a, b, width, out),
        (Vectors::U8(a), Vectors::U8(b)) => run(metric, a, b, width, out),
        (Vectors::F64(_), _) | (_, Vectors::F64(_)) => {
            vectors::in_blocks(width, out, |rows, out| {
                let (a, b) = (a.rows(width, rows.clone()), b.rows(width, rows));
                run(metric, &a.to_f64(), &b.to_f64(), width, out);
            });
        }
        _ => vectors::in_blocks(width, out, |rows, out| {
            let (a, b) = (a.rows(width, rows.clone()), b.rows(width, rows));
            run(metric, &a.to_f32(), &b.to_f32(), width, out);
        }),
    }
}
