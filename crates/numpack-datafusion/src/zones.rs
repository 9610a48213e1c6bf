//! The smallest and the largest value of each block of a column, as far as scans have seen them.

mod cache;
mod key;
mod pruning;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

pub(crate) use self::cache::{known, zones};
use self::key::Kind;
pub(crate) use self::pruning::kept_blocks;
use crate::scan::BLOCK;

/// Fewer blocks than this are read sooner than looked up.
const FEW_BLOCKS: usize = 8;

/// Bounds of the blocks of a column whose rows never change.
#[derive(Debug)]
pub(crate) struct Zones {
    data_type: DataType,
    blocks: Box<[Zone]>,
    /// Blocks that no scan has seen yet.
    left: AtomicUsize,
    /// Of all rows.
    bounds: OnceLock<Bounds>,
}

/// The smallest and the largest value of a column, each if it is known exactly.
pub(crate) type Bounds = (Option<ScalarValue>, Option<ScalarValue>);

/// One block, written once by whoever sees it first: who sees it too writes the same.
#[derive(Debug, Default)]
struct Zone {
    /// As [keys](key).
    low: AtomicI64,
    high: AtomicI64,
    known: AtomicBool,
}

impl Zone {
    fn get(&self) -> Option<(i64, i64)> {
        let known = self.known.load(Ordering::Acquire);
        known.then(|| {
            (
                self.low.load(Ordering::Relaxed),
                self.high.load(Ordering::Relaxed),
            )
        })
    }
}

impl Zones {
    /// Of a column of `rows` rows, nothing of which is known; None where that would be of no use.
    fn new(data_type: &DataType, rows: u64) -> Option<Self> {
        let blocks = usize::try_from(rows.div_ceil(BLOCK)).ok()?;
        let useful = blocks >= FEW_BLOCKS && key::is_ordered(data_type);
        useful.then(|| Self {
            data_type: data_type.clone(),
            blocks: (0..blocks).map(|_| Zone::default()).collect(),
            left: AtomicUsize::new(blocks),
            bounds: OnceLock::new(),
        })
    }

    /// Memory that it takes.
    fn bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }

    /// Whether nothing at all is known.
    pub(crate) fn is_blank(&self) -> bool {
        self.left.load(Ordering::Relaxed) == self.blocks.len()
    }

    /// Takes on what `values` tell, which are all rows of `block`.
    pub(crate) fn see(&self, block: u64, values: &dyn Array) {
        if self.left.load(Ordering::Relaxed) == 0 {
            return;
        }
        let zone = usize::try_from(block).ok();
        let Some(zone) = zone.and_then(|block| self.blocks.get(block)) else {
            return;
        };
        if zone.known.load(Ordering::Relaxed) {
            return;
        }
        if let Some((low, high)) = key::bounds(values) {
            zone.low.store(low, Ordering::Relaxed);
            zone.high.store(high, Ordering::Relaxed);
            if !zone.known.swap(true, Ordering::AcqRel) {
                self.left.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// The bounds of each block as columns of the values' type; NULL where they are not known.
    fn columns(&self) -> (ArrayRef, ArrayRef) {
        let zones: Vec<_> = self.blocks.iter().map(Zone::get).collect();
        let low = zones.iter().map(|zone| zone.map(|(low, _)| low));
        let high = zones.iter().map(|zone| zone.map(|(_, high)| high));
        (
            key::column(&self.data_type, low),
            key::column(&self.data_type, high),
        )
    }

    /// The smallest and the largest value of all, where every block is known.
    ///
    /// None is of floats with a NaN, on whose place aggregates and comparisons do not agree; nor is a
    /// float that is zero, which may have either sign.
    pub(crate) fn bounds(&self) -> Bounds {
        if self.left.load(Ordering::Acquire) > 0 {
            return (None, None);
        }
        let value = |key: i64| {
            let column = key::column(&self.data_type, [Some(key)].into_iter());
            ScalarValue::try_from_array(&column, 0).ok()
        };
        let bounds = || {
            let zones = || self.blocks.iter().filter_map(Zone::get);
            let low = zones().map(|zone| zone.0).min();
            let high = zones().map(|zone| zone.1).max();
            let is =
                |key: Option<i64>| key.map_or(Kind::Nan, |key| key::kind(&self.data_type, key));
            let (low_is, high_is) = (is(low), is(high));
            if low_is == Kind::Nan || high_is == Kind::Nan {
                return (None, None);
            }
            let exact = |key: Option<i64>, is| key.filter(|_| is == Kind::Exact).and_then(value);
            (exact(low, low_is), exact(high, high_is))
        };
        self.bounds.get_or_init(bounds).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array};

    use super::*;

    const ROWS: u64 = 8 * BLOCK;

    fn block(of: impl Fn(u64) -> f64) -> Float64Array {
        (0..BLOCK).map(|row| Some(of(row))).collect()
    }

    #[test]
    fn bounds_are_known_when_every_block_is() {
        let zones = Zones::new(&DataType::Float64, ROWS).expect("eight blocks of floats");
        assert!(zones.is_blank());
        for number in 0..8_u32 {
            assert_eq!(zones.bounds(), (None, None));
            let first = f64::from(number) * 10.0 + 1.0;
            let values = block(|row| if row == 5 { first } else { first + 1.0 });
            zones.see(number.into(), &values);
        }
        let bounds = (Some(ScalarValue::from(1.0)), Some(ScalarValue::from(72.0)));
        assert_eq!(zones.bounds(), bounds);
        let (low, high) = zones.columns();
        let numbers = |from: f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(
                (0..8).map(|n| f64::from(n) * 10.0 + from),
            ))
        };
        assert_eq!((low, high), (numbers(1.0), numbers(2.0)));
    }

    #[test]
    fn zeros_and_nan_are_no_exact_bounds() {
        for special in [0.0, -0.0, f64::NAN, -f64::NAN] {
            let zones = Zones::new(&DataType::Float64, ROWS).expect("eight blocks of floats");
            for number in 0..8 {
                let of = |row| if row % 2 == 0 { special } else { -special };
                zones.see(number, &block(of));
            }
            assert_eq!(zones.bounds(), (None, None), "{special}");
        }
    }

    #[test]
    fn an_unknown_block_is_null() {
        let zones = Zones::new(&DataType::Int64, ROWS - 1).expect("eight blocks of integers");
        zones.see(3, &Int64Array::from(vec![i64::MIN, i64::MAX]));
        zones.see(99, &Int64Array::from(vec![1]));
        let (low, high) = zones.columns();
        assert_eq!((low.len(), low.null_count(), high.null_count()), (8, 7, 7));
        assert!(low.is_valid(3) && high.is_valid(3));
    }

    #[test]
    fn few_rows_and_lists_have_none() {
        assert!(Zones::new(&DataType::Int64, 7 * BLOCK).is_none());
        assert!(Zones::new(&DataType::Utf8, ROWS).is_none());
    }
}
