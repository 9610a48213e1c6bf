//! Distances against plain loops in float64, within the bound that [`Query`] states.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::float_cmp,
    reason = "small numbers, and results that are exact"
)]

use numpack_kernels::{Metric, Order, Query, Top, UNDEFINED, Vectors, distances_between};
use proptest::collection::vec;
use proptest::prelude::*;

const METRICS: [Metric; 4] = [
    Metric::L2,
    Metric::L2Squared,
    Metric::Cosine,
    Metric::InnerProduct,
];

/// Half an ulp of 1.
const SINGLE: f64 = 1.0 / (1 << 24) as f64;
const DOUBLE: f64 = 1.0 / (1_u64 << 53) as f64;

/// What a metric is in exact arithmetic, as near as float64 comes, and how far a sum of `unit` may
/// be from it.
fn reference(metric: Metric, a: &[f64], b: &[f64], unit: f64) -> (f64, f64) {
    let sum =
        |term: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(&a, &b)| term(a, b)).sum::<f64>();
    let bound = (a.len() as f64 / 16.0 + 16.0) * unit;
    let squares = sum(&|a, b| (a - b) * (a - b));
    let (ab, absolute) = (sum(&|a, b| a * b), sum(&|a, b| (a * b).abs()));
    match metric {
        // The root halves the relative error.
        Metric::L2 => (squares.sqrt(), bound * squares.sqrt()),
        Metric::L2Squared => (squares, bound * squares),
        Metric::InnerProduct => (ab, bound * absolute),
        Metric::Cosine => {
            let norms = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
            if norms == 0.0 {
                return (UNDEFINED, 0.0);
            }
            (1.0 - ab / norms, 2.0 * bound + 4.0 * DOUBLE)
        }
    }
}

fn check(metric: Metric, got: f64, a: &[f64], b: &[f64], unit: f64) {
    let (expected, bound) = reference(metric, a, b, unit);
    if expected.to_bits() == UNDEFINED.to_bits() {
        assert_eq!(got.to_bits(), UNDEFINED.to_bits(), "{metric:?} of zeros");
    } else {
        // The reference is itself a sum of rounded numbers.
        let bound = bound + a.len() as f64 * DOUBLE * expected.abs() + 1e-300;
        let off = (got - expected).abs();
        assert!(
            off <= bound,
            "{metric:?} of {} values: {got} for {expected}, off by {off}, allowed {bound}",
            a.len()
        );
    }
}

/// Values of one type, from small integers.
struct Sample {
    f16: Vec<u16>,
    f32: Vec<f32>,
    f64: Vec<f64>,
    i8: Vec<i8>,
    u8: Vec<u8>,
}

/// The bits of a half precision number that holds `value / 8`, for |value| below 1024.
fn half(value: i16) -> u16 {
    let magnitude = u32::from(value.unsigned_abs());
    let Some(top) = magnitude.checked_ilog2() else {
        return 0;
    };
    let fraction = (magnitude << (10 - top)) & 1023;
    let bits = (top + 15 - 3) << 10 | fraction;
    u16::try_from(bits).expect("15 bits") | if value < 0 { 1 << 15 } else { 0 }
}

impl Sample {
    fn new(values: &[i16]) -> Self {
        let eighths: Vec<f64> = values.iter().map(|&value| f64::from(value) / 8.0).collect();
        Self {
            f16: values.iter().map(|&value| half(value)).collect(),
            f32: values.iter().map(|&value| f32::from(value) / 7.0).collect(),
            f64: eighths.iter().map(|value| value / 7.0).collect(),
            i8: values
                .iter()
                .map(|value| value.to_le_bytes()[0] as i8)
                .collect(),
            u8: values.iter().map(|value| value.to_le_bytes()[0]).collect(),
        }
    }

    /// Each type from value `skip` on, so that loads are not aligned; with the values in float64 and
    /// the unit in which its sums are rounded.
    fn all(&self, skip: usize) -> [(Vectors<'_>, Vec<f64>, f64); 5] {
        let wide = |values: &[i16]| {
            values
                .iter()
                .map(|&value| f64::from(value))
                .collect::<Vec<_>>()
        };
        let signed: Vec<i16> = self.i8.iter().map(|&value| i16::from(value)).collect();
        let unsigned: Vec<i16> = self.u8.iter().map(|&value| i16::from(value)).collect();
        let halves = self.f16.iter().map(|&bits| {
            let exponent = i32::from(bits >> 10 & 31);
            let magnitude = match exponent {
                0 => 0.0,
                _ => (1.0 + f64::from(bits & 1023) / 1024.0) * 2f64.powi(exponent - 15),
            };
            if bits >> 15 == 1 {
                -magnitude
            } else {
                magnitude
            }
        });
        let halves: Vec<f64> = halves.collect();
        let singles: Vec<f64> = self.f32.iter().map(|&value| f64::from(value)).collect();
        [
            (
                Vectors::F16(&self.f16[skip..]),
                halves[skip..].to_vec(),
                SINGLE,
            ),
            (
                Vectors::F32(&self.f32[skip..]),
                singles[skip..].to_vec(),
                SINGLE,
            ),
            (
                Vectors::F64(&self.f64[skip..]),
                self.f64[skip..].to_vec(),
                DOUBLE,
            ),
            (
                Vectors::I8(&self.i8[skip..]),
                wide(&signed)[skip..].to_vec(),
                0.0,
            ),
            (
                Vectors::U8(&self.u8[skip..]),
                wide(&unsigned)[skip..].to_vec(),
                0.0,
            ),
        ]
    }
}

fn numbers() -> impl Strategy<Value = i16> {
    prop_oneof![4 => -1023..1024_i16, 1 => Just(0)]
}

proptest! {
    /// One query against rows, and the same rows one by one.
    #[test]
    fn a_query_is_within_its_bound(
        (width, rows, skip, values, query) in (0..=300_usize, 0..4_usize, 0..3_usize)
            .prop_flat_map(|(width, rows, skip)| (
                Just(width), Just(rows), Just(skip),
                vec(numbers(), width * rows + skip), vec(numbers(), width),
            )),
    ) {
        let (rows_of, query_of) = (Sample::new(&values), Sample::new(&query));
        for ((all, wide, unit), (query, query_wide, _)) in
            rows_of.all(skip).into_iter().zip(query_of.all(0))
        {
            for metric in METRICS {
                let mut out = vec![-1.0; rows];
                let query = Query::new(metric, query);
                query.distances(all, &mut out);
                let mut pairs = vec![-1.0; rows];
                for i in 0..rows {
                    check(metric, out[i], &wide[i * width..][..width], &query_wide, unit);
                    let (row, same) = (all.rows(width, i..i + 1), query.values());
                    // Converted to double and back: exact for all types.
                    match row {
                        Vectors::F64(_) => distances_between(
                            metric, row, Vectors::F64(same), width, &mut pairs[i..=i],
                        ),
                        _ => query.distances(row, &mut pairs[i..=i]),
                    }
                }
                prop_assert_eq!(
                    out.iter().map(|d| d.to_bits()).collect::<Vec<_>>(),
                    pairs.iter().map(|d| d.to_bits()).collect::<Vec<_>>()
                );
            }
        }
    }

    /// Every type against every type, row by row.
    #[test]
    fn pairs_of_rows_are_within_the_bound(
        (width, rows, a, b) in (0..=300_usize, 0..4_usize).prop_flat_map(|(width, rows)| (
            Just(width), Just(rows), vec(numbers(), width * rows), vec(numbers(), width * rows),
        )),
    ) {
        let (a, b) = (Sample::new(&a), Sample::new(&b));
        for (a, a_wide, a_unit) in a.all(0) {
            for (b, b_wide, b_unit) in b.all(0) {
                let same = std::mem::discriminant(&a) == std::mem::discriminant(&b);
                let double = a_unit == DOUBLE || b_unit == DOUBLE;
                let unit = if same { a_unit } else if double { DOUBLE } else { SINGLE };
                for metric in METRICS {
                    let mut out = vec![-1.0; rows];
                    distances_between(metric, a, b, width, &mut out);
                    for (i, &got) in out.iter().enumerate() {
                        let row = i * width..(i + 1) * width;
                        check(metric, got, &a_wide[row.clone()], &b_wide[row], unit);
                    }
                }
            }
        }
    }

    /// The heap is a stable sort, cut off.
    #[test]
    fn the_first_rows_are_those_of_a_sort(
        values in vec(prop_oneof![
            4 => (-3..4_i8).prop_map(f64::from),
            1 => prop::sample::select(vec![
                UNDEFINED, f64::NAN, -f64::NAN, -0.0, f64::INFINITY, f64::NEG_INFINITY,
                // Neighbours of 1, and the NaNs at both ends of the total order.
                1.0_f64.next_up(), 1.0_f64.next_down(),
                f64::from_bits(u64::MAX), f64::from_bits(u64::MAX >> 1),
            ]),
        ], 0..60),
        limit in 0..70_usize,
        descending in any::<bool>(),
        nulls_first in any::<bool>(),
        split in 0..60_usize,
    ) {
        let order = Order { descending, nulls_first };
        let (mut top, mut other) = (Top::new(limit, order), Top::new(limit, order));
        let split = split.min(values.len());
        other.offer(split as u64, &values[split..]);
        top.offer(0, &values[..split]);
        top.merge(other);

        let is_null = |value: f64| value.to_bits() == UNDEFINED.to_bits();
        let mut expected: Vec<(u64, f64)> = (0..).zip(values.iter().copied()).collect();
        expected.sort_by(|(_, a), (_, b)| match (is_null(*a), is_null(*b)) {
            (false, false) if descending => b.total_cmp(a),
            (false, false) => a.total_cmp(b),
            (a, b) if nulls_first => b.cmp(&a),
            (a, b) => a.cmp(&b),
        });
        expected.truncate(limit);
        let bits = |rows: Vec<(u64, f64)>| -> Vec<(u64, u64)> {
            rows.into_iter().map(|(row, value)| (row, value.to_bits())).collect()
        };
        prop_assert_eq!(bits(top.into_rows()), bits(expected));
    }
}

/// The distances of one row from a query of the same type.
fn one(metric: Metric, row: Vectors<'_>, query: Vectors<'_>) -> f64 {
    let mut out = [-1.0];
    Query::new(metric, query).distances(row, &mut out);
    out[0]
}

#[test]
fn what_is_not_finite() {
    for width in [1, 7, 8, 33, 130] {
        for at in [0, width / 2, width - 1] {
            let (zeros, ones) = (vec![0.0_f32; width], vec![1.0_f32; width]);
            for (special, l2) in [
                (f32::NAN, f64::NAN),
                (f32::INFINITY, f64::INFINITY),
                (f32::NEG_INFINITY, f64::INFINITY),
            ] {
                let mut row = zeros.clone();
                row[at] = special;
                for metric in [Metric::L2, Metric::L2Squared] {
                    let got = one(metric, Vectors::F32(&row), Vectors::F32(&ones));
                    assert_eq!(got.total_cmp(&l2), std::cmp::Ordering::Equal, "{got}");
                }
                // Infinity over infinity.
                let got = one(Metric::Cosine, Vectors::F32(&row), Vectors::F32(&ones));
                assert_eq!(got.to_bits(), f64::NAN.to_bits());
                // Zero times infinity, in which a processor makes a negative NaN.
                let got = one(
                    Metric::InnerProduct,
                    Vectors::F32(&row),
                    Vectors::F32(&zeros),
                );
                assert_eq!(got.to_bits(), f64::NAN.to_bits());
            }
        }
    }
}

#[test]
fn squares_that_no_single_holds() {
    for (scale, width) in [(1e30_f32, 3), (1e-30, 40), (f32::MIN_POSITIVE / 64.0, 129)] {
        let (row, query) = (vec![scale; width], vec![-scale; width]);
        let (wide, n) = (
            f64::from(scale),
            f64::from(u8::try_from(width).expect("small")),
        );
        let near = |got: f64, expected: f64| (got / expected - 1.0).abs() < 1e-6;
        let metric = |metric| one(metric, Vectors::F32(&row), Vectors::F32(&query));
        assert!(
            near(metric(Metric::L2Squared), 4.0 * wide * wide * n),
            "{scale}"
        );
        assert!(near(metric(Metric::L2), 2.0 * wide * n.sqrt()), "{scale}");
        assert!(near(metric(Metric::Cosine), 2.0), "{scale}");
        let product = metric(Metric::InnerProduct);
        assert!(near(product, -wide * wide * n), "{scale}: {product}");
    }
    // Right angles but for one product.
    for (last, expected) in [(0.0, 0.0), (1e-30_f32, f64::from(1e-30_f32).powi(2))] {
        let (row, query) = ([1.0, -1.0, last], [1.0, 1.0, last]);
        let product = one(
            Metric::InnerProduct,
            Vectors::F32(&row),
            Vectors::F32(&query),
        );
        assert_eq!(product, expected);
    }
    // A query beyond f32 against rows of f32.
    let got = one(Metric::L2, Vectors::F32(&[0.0]), Vectors::F64(&[1e300]));
    assert_eq!(got, f64::INFINITY);
    let row = [1.0, 1.0];
    for scale in [1e39, 1e-60] {
        let query = [scale, -2.0 * scale];
        let got = |metric| one(metric, Vectors::F32(&row), Vectors::F64(&query));
        for metric in METRICS {
            check(metric, got(metric), &row.map(f64::from), &query, DOUBLE);
        }
    }
}

#[test]
fn integers_are_exact() {
    let width = 70_000;
    let (row, query) = (vec![255_u8; width], vec![0_u8; width]);
    let got = one(Metric::L2Squared, Vectors::U8(&row), Vectors::U8(&query));
    assert_eq!(got, 255.0 * 255.0 * 70_000.0);
    let (row, query) = (vec![-128_i8; width], vec![127_i8; width]);
    let got = one(Metric::InnerProduct, Vectors::I8(&row), Vectors::I8(&query));
    assert_eq!(got, -128.0 * 127.0 * 70_000.0);
    // A query that is no byte is compared as what it is.
    let got = one(
        Metric::L2Squared,
        Vectors::U8(&[0, 255]),
        Vectors::F64(&[0.5, 300.0]),
    );
    assert_eq!(got, 0.25 + 45.0 * 45.0);
}

#[test]
#[should_panic(expected = "2 rows of 3 values are not 5 values")]
fn part_of_a_row() {
    Query::new(Metric::L2, Vectors::F32(&[0.0; 3]))
        .distances(Vectors::F32(&[0.0; 5]), &mut [0.0; 2]);
}
