use super::lanes::Rows;
use super::vectors::in_blocks;
use super::{Metric, Vectors};
use crate::processor::{self, Work};

/// A vector that many others are compared with, made ready once.
///
/// The query is taken in the element type of the rows: rounded to `f32` for rows of `f16` and `f32`;
/// for rows of integers as integers if it holds nothing else, and as `f32` otherwise. A query with a
/// value that is too large or too small for an `f32` stays `f64`, and so do the rows then.
///
/// # How exact the results are
/// Integers are summed exactly. Other sums are of `f32` for rows of `f16` and `f32`, and of `f64` for
/// rows of `f64`, in 32 (`f64`: 16) sums side by side, that are then added in pairs. With `n` values,
/// the sum `s` of the terms that were meant and `t` the sum of their absolute values,
///
/// ```text
/// |result - s| <= (n / 16 + 16) * u * t        u = 2^-24 for f32, 2^-53 for f64
/// ```
///
/// so that squared distances are right to a few units of the last place of an `f32`. Where a sum of
/// `f32` overflows, or is so small that squares or products have been lost, the row is done again in `f64`.
/// A NaN among the values gives NaN.
///
/// ```
/// use numpack_kernels::{Metric, Query, Vectors};
///
/// let query = Query::new(Metric::L2, Vectors::F64(&[0.0, 4.0]));
/// let mut out = [0.0; 2];
/// query.distances(Vectors::F32(&[3.0, 0.0, 0.0, 4.0]), &mut out);
/// assert_eq!(out, [5.0, 0.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Query {
    metric: Metric,
    double: Vec<f64>,
    /// None where a value is out of the range of `f32`.
    single: Option<Vec<f32>>,
    signed: Option<Vec<i8>>,
    unsigned: Option<Vec<u8>>,
}

impl Query {
    /// A query with all the values of `vector`.
    pub fn new(metric: Metric, vector: Vectors<'_>) -> Self {
        let double = vector.to_f64().into_owned();
        Self {
            metric,
            single: fits_single(&double).then(|| vector.to_f32().into_owned()),
            signed: double.iter().map(|&value| signed(value)).collect(),
            unsigned: double.iter().map(|&value| unsigned(value)).collect(),
            double,
        }
    }

    /// What is computed.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The values of the vector.
    pub fn values(&self) -> &[f64] {
        &self.double
    }

    /// Writes the distance of row `i` of `rows` into `out[i]`.
    ///
    /// # Panics
    /// If `rows` does not hold `out.len()` rows as long as the query.
    pub fn distances(&self, rows: Vectors<'_>, out: &mut [f64]) {
        let width = self.double.len();
        rows.check(width, out.len());
        match (rows, &self.signed, &self.unsigned, &self.single) {
            (Vectors::F64(rows), ..) => self.run(rows, &self.double, out),
            (Vectors::I8(rows), Some(query), ..) => self.run(rows, query, out),
            (Vectors::U8(rows), _, Some(query), _) => self.run(rows, query, out),
            (Vectors::F32(rows), .., Some(query)) => self.run(rows, query, out),
            (.., Some(query)) => in_blocks(width, out, |part, out| {
                let rows = rows.rows(width, part).to_f32();
                self.run(&rows, query, out);
            }),
            (.., None) => in_blocks(width, out, |part, out| {
                let rows = rows.rows(width, part).to_f64();
                self.run(&rows, &self.double, out);
            }),
        }
    }

    fn run<'a, T>(&self, rows: &'a [T], query: &'a [T], out: &'a mut [f64])
    where
        Rows<'a, T>: Work,
    {
        processor::run(Rows {
            metric: self.metric,
            a: rows,
            b: query,
            width: query.len(),
            step: 0,
            out,
        });
    }
}

/// Whether rounding to `f32` changes only last places.
fn fits_single(values: &[f64]) -> bool {
    let range = f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX);
    let fits = |value: &f64| *value == 0.0 || !value.is_finite() || range.contains(&value.abs());
    values.iter().all(fits)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "comparing shows whether the integer is the number"
)]
fn signed(value: f64) -> Option<i8> {
    let integer = value as i8;
    (f64::from(integer) == value).then_some(integer)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "comparing shows whether the integer is the number"
)]
fn unsigned(value: f64) -> Option<u8> {
    let integer = value as u8;
    (f64::from(integer) == value).then_some(integer)
}
