//! The loops. Sums run side by side in lanes, which the compiler turns into the vector instructions of
//! the processor that [`crate::processor`] finds.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the processor that was found"
)]

use super::{Metric, fallback};
use crate::processor::{Apart, Fused, Work};

/// Sums side by side: four registers of eight hide the four cycles that an addition takes.
const SINGLES: usize = 8;
const DOUBLES: usize = 4;

/// Bytes whose squares are summed in 32 bits: 2^14 times 255^2 fits.
const BYTES: usize = 1 << 14;

/// What the metrics are made of. `ab` is the sum of squared differences or of products.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) ab: f64,
    pub(super) aa: f64,
    pub(super) bb: f64,
}

/// Rows of `a` against rows of `b`, and where the results go.
pub(super) struct Rows<'a, T> {
    pub(super) metric: Metric,
    pub(super) a: &'a [T],
    pub(super) b: &'a [T],
    /// Values in a row.
    pub(super) width: usize,
    /// How far rows of `b` are apart: 0 for one row that stands for all.
    pub(super) step: usize,
    pub(super) out: &'a mut [f64],
}

impl<T> Rows<'_, T> {
    /// Writes `each(row i of a, row i of b)` into `out[i]`.
    #[inline(always)]
    fn each(self, each: impl Fn(&[T], &[T]) -> f64) {
        let (width, step) = (self.width, self.step);
        for (i, out) in self.out.iter_mut().enumerate() {
            *out = each(&self.a[i * width..][..width], &self.b[i * step..][..width]);
        }
    }
}

/// Calls `$each` with a metric that is a constant, so that no row has to look which it is.
macro_rules! settled {
    ($metric:expr, |$constant:ident| $each:expr) => {
        match $metric {
            Metric::L2 => {
                const $constant: Metric = Metric::L2;
                $each
            }
            Metric::L2Squared => {
                const $constant: Metric = Metric::L2Squared;
                $each
            }
            Metric::InnerProduct => {
                const $constant: Metric = Metric::InnerProduct;
                $each
            }
            Metric::Cosine => {
                const $constant: Metric = Metric::Cosine;
                $each
            }
        }
    };
}

/// The sums of one floating point type.
macro_rules! float_sums {
    ($float:ident, $lanes:ident, $in_lanes:ident, $pairs:expr, $sum:ident, $sums:ident) => {
        /// Adds up the products of what `pair` makes of `a` and `b`, in lanes and then in pairs.
        #[inline(always)]
        fn $sum<F: Fused>(
            a: &[$float],
            b: &[$float],
            pair: impl Fn($float, $float) -> ($float, $float),
        ) -> f64 {
            let step = |sums: [$float; $lanes], a: &[$float; $lanes], b: &[$float; $lanes]| {
                let left = std::array::from_fn(|i| pair(a[i], b[i]).0);
                let right = std::array::from_fn(|i| pair(a[i], b[i]).1);
                F::$in_lanes(left, right, sums)
            };
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<$lanes>(), b.as_chunks::<$lanes>());
            let ((a, a_end), (b, b_end)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
            let [mut s0, mut s1, mut s2, mut s3] = [[0.0; $lanes]; 4];
            for (a, b) in a.iter().zip(b) {
                s0 = step(s0, &a[0], &b[0]);
                s1 = step(s1, &a[1], &b[1]);
                s2 = step(s2, &a[2], &b[2]);
                s3 = step(s3, &a[3], &b[3]);
            }
            for (a, b) in a_end.iter().zip(b_end) {
                s0 = step(s0, a, b);
            }
            let lanes: [$float; $lanes] =
                std::array::from_fn(|i| (s0[i] + s1[i]) + (s2[i] + s3[i]));
            let mut sum = $pairs(lanes);
            for (&a, &b) in a_rest.iter().zip(b_rest) {
                let (left, right) = pair(a, b);
                sum = F::$float(left, right, sum);
            }
            f64::from(sum)
        }

        #[inline(always)]
        fn $sums<F: Fused>(metric: Metric, a: &[$float], b: &[$float]) -> Sums {
            let product = |a, b| (a, b);
            let none = Sums::default();
            match metric {
                Metric::L2 | Metric::L2Squared => {
                    let ab = $sum::<F>(a, b, |a, b| (a - b, a - b));
                    Sums { ab, ..none }
                }
                Metric::InnerProduct => {
                    let ab = $sum::<F>(a, b, product);
                    Sums { ab, ..none }
                }
                Metric::Cosine => Sums {
                    ab: $sum::<F>(a, b, product),
                    aa: $sum::<F>(a, a, product),
                    bb: $sum::<F>(b, b, product),
                },
            }
        }
    };
}

float_sums!(
    f32,
    SINGLES,
    f32_lanes,
    |[a, b, c, d, e, f, g, h]: [f32; 8]| ((a + e) + (c + g)) + ((b + f) + (d + h)),
    sum_singles,
    single_sums
);
float_sums!(
    f64,
    DOUBLES,
    f64_lanes,
    |[a, b, c, d]: [f64; 4]| (a + c) + (b + d),
    sum_doubles,
    double_sums
);

/// The sums of a row that `f32` could not hold.
pub(super) fn wide_sums(metric: Metric, a: &[f64], b: &[f64]) -> Sums {
    double_sums::<Apart>(metric, a, b)
}

impl Work for Rows<'_, f32> {
    #[inline(always)]
    fn run<F: Fused>(self) {
        settled!(self.metric, |METRIC| self.each(|a, b| {
            let sums = single_sums::<F>(METRIC, a, b);
            if fallback::fits(METRIC, sums) {
                METRIC.finish(sums)
            } else {
                METRIC.finish(fallback::sums(METRIC, sums, a, b))
            }
        }));
    }
}

impl Work for Rows<'_, f64> {
    #[inline(always)]
    fn run<F: Fused>(self) {
        settled!(self.metric, |METRIC| self
            .each(|a, b| { METRIC.finish(double_sums::<F>(METRIC, a, b)) }));
    }
}

impl Work for Rows<'_, i8> {
    #[inline(always)]
    fn run<F: Fused>(self) {
        bytes(self);
    }
}

impl Work for Rows<'_, u8> {
    #[inline(always)]
    fn run<F: Fused>(self) {
        bytes(self);
    }
}

/// Adds up `term(a[i], b[i])` exactly.
#[inline(always)]
#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 is 10^11 bytes' worth of squares"
)]
fn sum_bytes<T: Copy>(a: &[T], b: &[T], term: impl Fn(T, T) -> i32) -> f64 {
    let blocks = a.chunks(BYTES).zip(b.chunks(BYTES));
    let sums = blocks.map(|(a, b)| {
        let terms = a.iter().zip(b).map(|(&a, &b)| term(a, b));
        i64::from(terms.sum::<i32>())
    });
    sums.sum::<i64>() as f64
}

#[inline(always)]
fn bytes<T: Copy + Into<i32>>(rows: Rows<'_, T>) {
    let product = |a: T, b: T| a.into() * b.into();
    let square = |a: T, b: T| (a.into() - b.into()) * (a.into() - b.into());
    settled!(rows.metric, |METRIC| rows.each(|a, b| {
        let none = Sums::default();
        METRIC.finish(match METRIC {
            Metric::L2 | Metric::L2Squared => Sums {
                ab: sum_bytes(a, b, square),
                ..none
            },
            Metric::InnerProduct => Sums {
                ab: sum_bytes(a, b, product),
                ..none
            },
            Metric::Cosine => Sums {
                ab: sum_bytes(a, b, product),
                aa: sum_bytes(a, a, product),
                bb: sum_bytes(b, b, product),
            },
        })
    }));
}
