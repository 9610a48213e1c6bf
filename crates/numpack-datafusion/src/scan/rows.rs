use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use numpack_arrow::LiveRows;

/// Live rows to read, by their positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Neighbours, ascending.
    Range(Range<u64>),
    /// These, in this order.
    List(Vec<u64>),
}

impl Rows {
    pub(crate) fn none() -> Self {
        Self::Range(0..0)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Range(range) => count(range.end - range.start),
            Self::List(rows) => rows.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For readers of columns.
    pub(crate) fn live(&self) -> LiveRows<'_> {
        match self {
            Self::Range(range) => LiveRows::Range(range.start, range.end),
            Self::List(rows) => LiveRows::List(rows),
        }
    }

    /// The rows that `mask` is true for; none of the mask is NULL.
    pub(crate) fn select(self, mask: &BooleanArray) -> Self {
        let kept = mask.values().count_set_bits();
        if kept == self.len() {
            return self;
        }
        if kept == 0 {
            return Self::none();
        }
        match self {
            Self::Range(range) => {
                let mut slices = mask.values().set_slices();
                if let (Some((start, end)), true) = (slices.next(), slices.next().is_none()) {
                    return Self::Range(range.start + start as u64..range.start + end as u64);
                }
                let rows = mask.values().set_indices();
                Self::List(rows.map(|row| range.start + row as u64).collect())
            }
            Self::List(rows) => {
                Self::List(mask.values().set_indices().map(|row| rows[row]).collect())
            }
        }
    }

    /// Puts `more` behind these rows. Neighbours stay a range.
    pub(crate) fn extend(&mut self, more: Self) {
        if self.is_empty() {
            *self = more;
            return;
        }
        if let (Self::Range(range), Self::Range(next)) = (&mut *self, &more)
            && range.end == next.start
        {
            range.end = next.end;
            return;
        }
        let mut list = std::mem::replace(self, Self::none()).into_list();
        match more {
            Self::Range(range) => list.extend(range),
            Self::List(rows) => list.extend(rows),
        }
        *self = Self::List(list);
    }

    /// Takes up to `rows` rows from the front.
    pub(crate) fn take(&mut self, rows: usize) -> Self {
        if rows >= self.len() {
            return std::mem::replace(self, Self::none());
        }
        match self {
            Self::Range(range) => {
                let middle = range.start + rows as u64;
                let front = range.start..middle;
                range.start = middle;
                Self::Range(front)
            }
            Self::List(list) => {
                let back = list.split_off(rows);
                Self::List(std::mem::replace(list, back))
            }
        }
    }

    /// The same rows from the last to the first.
    pub(crate) fn reversed(self) -> Self {
        if self.len() < 2 {
            return self;
        }
        let mut list = self.into_list();
        list.reverse();
        Self::List(list)
    }

    /// Their positions as a column.
    pub(crate) fn ids(&self) -> DataFusionResult<ArrayRef> {
        let id = |row: u64| {
            i64::try_from(row)
                .map_err(|_| DataFusionError::Execution(format!("row {row} does not fit an Int64")))
        };
        let ids: Int64Array = match self {
            Self::Range(range) => Int64Array::from_iter_values(id(range.start)?..id(range.end)?),
            Self::List(rows) => {
                let ids: DataFusionResult<Vec<i64>> = rows.iter().map(|&row| id(row)).collect();
                ids?.into()
            }
        };
        Ok(Arc::new(ids))
    }

    fn into_list(self) -> Vec<u64> {
        match self {
            Self::Range(range) => range.collect(),
            Self::List(rows) => rows,
        }
    }
}

/// A number of rows or bytes of one batch, which is in memory and so fits.
fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_together_and_taken_apart() {
        let mut rows = Rows::none();
        rows.extend(Rows::Range(3..5));
        rows.extend(Rows::Range(5..8));
        assert_eq!(rows, Rows::Range(3..8));
        assert_eq!(rows.take(2), Rows::Range(3..5));
        rows.extend(Rows::List(vec![20, 30]));
        rows.extend(Rows::Range(40..42));
        assert_eq!(rows, Rows::List(vec![5, 6, 7, 20, 30, 40, 41]));
        assert_eq!(rows.take(3), Rows::List(vec![5, 6, 7]));
        assert_eq!(rows.clone().reversed(), Rows::List(vec![41, 40, 30, 20]));
        assert_eq!(rows.take(9), Rows::List(vec![20, 30, 40, 41]));
        assert!(rows.is_empty());
    }

    #[test]
    fn a_selection_stays_a_range_where_it_can() {
        let mask = |bits: &[u8]| bits.iter().map(|&b| Some(b == 1)).collect::<BooleanArray>();
        let rows = Rows::Range(10..14);
        assert_eq!(rows.clone().select(&mask(&[1, 1, 1, 1])), rows);
        assert_eq!(
            rows.clone().select(&mask(&[0, 1, 1, 0])),
            Rows::Range(11..13)
        );
        assert_eq!(
            rows.clone().select(&mask(&[1, 0, 0, 1])),
            Rows::List(vec![10, 13])
        );
        assert!(rows.select(&mask(&[0, 0, 0, 0])).is_empty());
        let list = Rows::List(vec![9, 4, 6]);
        assert_eq!(list.select(&mask(&[1, 0, 1])), Rows::List(vec![9, 6]));
    }
}
