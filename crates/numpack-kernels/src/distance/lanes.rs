//! The loops. Sums run side by side in lanes, which the compiler turns into the vector instructions of
//! the processor that [`crate::processor`] finds.

use super::{Metric, fallback};
use crate::processor::{Apart, Fused, Work};

/// Sums side by side: four registers of eight hide the four cycles that an addition takes.
const SINGLES: usize = 32;
const DOUBLES: usize = 16;

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
    ($float:ident, $lanes:ident, $sum:ident, $sums:ident) => {
        /// Adds up `term(a[i], b[i], sum)`, in lanes and then in pairs.
        #[inline(always)]
        fn $sum(
            a: &[$float],
            b: &[$float],
            term: impl Fn($float, $float, $float) -> $float,
        ) -> f64 {
            let mut sums = [0.0; $lanes];
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<$lanes>(), b.as_chunks::<$lanes>());
            for (a, b) in a.iter().zip(b) {
                for i in 0..$lanes {
                    sums[i] = term(a[i], b[i], sums[i]);
                }
            }
            // What is left goes through a quarter of the lanes, and then one by one.
            let (a, a_rest) = a_rest.as_chunks::<{ $lanes / 4 }>();
            let (b, b_rest) = b_rest.as_chunks::<{ $lanes / 4 }>();
            for (a, b) in a.iter().zip(b) {
                for i in 0..$lanes / 4 {
                    sums[i] = term(a[i], b[i], sums[i]);
                }
            }
            let mut half = $lanes / 2;
            while half > 0 {
                for i in 0..half {
                    sums[i] += sums[i + half];
                }
                half /= 2;
            }
            let rest = a_rest.iter().zip(b_rest);
            f64::from(rest.fold(sums[0], |sum, (&a, &b)| term(a, b, sum)))
        }

        #[inline(always)]
        fn $sums<F: Fused>(metric: Metric, a: &[$float], b: &[$float]) -> Sums {
            let product = |a, b, sum| F::$float(a, b, sum);
            let none = Sums::default();
            match metric {
                Metric::L2 | Metric::L2Squared => {
                    let ab = $sum(a, b, |a, b, sum| F::$float(a - b, a - b, sum));
                    Sums { ab, ..none }
                }
                Metric::InnerProduct => {
                    let ab = $sum(a, b, product);
                    Sums { ab, ..none }
                }
                Metric::Cosine => Sums {
                    ab: $sum(a, b, product),
                    aa: $sum(a, a, product),
                    bb: $sum(b, b, product),
                },
            }
        }
    };
}

float_sums!(f32, SINGLES, sum_singles, single_sums);
float_sums!(f64, DOUBLES, sum_doubles, double_sums);

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
                METRIC.finish(fallback::sums(METRIC, a, b))
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
