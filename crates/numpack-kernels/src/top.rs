//! The first rows in the order of a number that each row has.

use std::collections::BinaryHeap;

use crate::distance::UNDEFINED;

/// How rows are ordered by their numbers.
///
/// Numbers go in IEEE 754's total order, as Arrow sorts: NaN behind infinity, -0.0 before 0.0.
/// [`UNDEFINED`] stands for null. Rows of one number go in the order of their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// Large numbers come first.
    pub descending: bool,
    /// Nulls come before all numbers rather than behind them.
    pub nulls_first: bool,
}

impl Order {
    /// A number that grows with the place in the order.
    #[inline]
    fn key(self, value: f64) -> u64 {
        const SIGN: u64 = 1 << 63;
        let bits = value.to_bits();
        if bits == UNDEFINED.to_bits() {
            return if self.nulls_first { 0 } else { u64::MAX };
        }
        let ascending = if bits & SIGN == 0 { bits | SIGN } else { !bits };
        // Both ends belong to null; only NaNs that no processor makes are that far out.
        let key = if self.descending {
            !ascending
        } else {
            ascending
        };
        key.clamp(1, u64::MAX - 1)
    }
}

/// The first `limit` of the rows it has been shown.
///
/// ```
/// use numpack_kernels::{Order, Top};
///
/// let nearest = Order { descending: false, nulls_first: false };
/// let mut top = Top::new(2, nearest);
/// top.offer(10, &[0.5, 0.1, f64::NAN, 0.3]);
/// assert_eq!(top.into_rows(), [(11, 0.1), (13, 0.3)]);
/// ```
#[derive(Clone, Debug)]
pub struct Top {
    limit: usize,
    order: Order,
    /// Key, row and number of each row kept; the last of them in the order is on top.
    kept: BinaryHeap<(u64, u64, u64)>,
}

impl Top {
    /// Keeps `limit` rows.
    pub fn new(limit: usize, order: Order) -> Self {
        Self {
            limit,
            order,
            kept: BinaryHeap::new(),
        }
    }

    /// Bytes of memory that keeping `limit` rows takes at most.
    pub fn memory(limit: usize) -> usize {
        let room = limit.checked_next_power_of_two().unwrap_or(limit);
        room.saturating_mul(size_of::<(u64, u64, u64)>())
    }

    /// Shows the rows from `first` on, by their numbers.
    pub fn offer(&mut self, first: u64, values: &[f64]) {
        for (row, &value) in (first..).zip(values) {
            self.offer_one(row, value);
        }
    }

    /// Shows one row.
    #[inline]
    pub fn offer_one(&mut self, row: u64, value: f64) {
        let candidate = (self.order.key(value), row, value.to_bits());
        if self.kept.len() < self.limit {
            self.kept.push(candidate);
        } else if let Some(mut last) = self.kept.peek_mut()
            && candidate < *last
        {
            *last = candidate;
        }
    }

    /// Takes over what another has kept.
    pub fn merge(&mut self, other: Self) {
        for (_, row, bits) in other.kept {
            self.offer_one(row, f64::from_bits(bits));
        }
    }

    /// The rows kept so far, in no order.
    pub fn rows(&self) -> impl Iterator<Item = u64> {
        self.kept.iter().map(|&(_, row, _)| row)
    }

    /// The rows in their order, each with its number.
    pub fn into_rows(self) -> Vec<(u64, f64)> {
        let kept = self.kept.into_sorted_vec().into_iter();
        kept.map(|(_, row, bits)| (row, f64::from_bits(bits)))
            .collect()
    }
}
