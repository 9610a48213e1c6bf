//! Rows whose sums do not fit an `f32`, once more in `f64`.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the processor that was found"
)]

use super::Metric;
use super::lanes::{Sums, wide_sums};

/// A sum of squares below this may lack some that are too small for an `f32`: 2^-86, which is 2^40
/// times the least normal number.
const LEAST: f64 = f64::from_bits((1023 - 86) << 52);

/// Whether `f32` could hold the sums, as far as these tell.
#[inline(always)]
pub(super) fn fits(metric: Metric, sums: Sums) -> bool {
    let within = |sum: f64| (LEAST..f64::INFINITY).contains(&sum);
    match metric {
        Metric::L2 | Metric::L2Squared => within(sums.ab),
        Metric::InnerProduct => within(sums.ab.abs()),
        Metric::Cosine => sums.ab.is_finite() && within(sums.aa) && within(sums.bb),
    }
}

/// The sums over a pair of vectors in `f64`, where those in `f32` have lost something.
#[cold]
#[inline(never)]
pub(super) fn sums(metric: Metric, sums: Sums, a: &[f32], b: &[f32]) -> Sums {
    // Vectors at right angles have a sum that is small, too.
    if metric == Metric::InnerProduct && sums.ab.is_finite() {
        let lost = |a: f32, b: f32| a != 0.0 && b != 0.0 && (a * b).abs() < f32::MIN_POSITIVE;
        if !a
            .iter()
            .zip(b)
            .fold(false, |any, (&a, &b)| any | lost(a, b))
        {
            return sums;
        }
    }
    let widen = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    wide_sums(metric, &widen(a), &widen(b))
}
