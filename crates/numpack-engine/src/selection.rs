//! Which rows: one type for getitem, replace, drop and row ids, with NumPy's rules.

use crate::error::{Error, Result};

/// A choice of rows, as a user states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every row.
    All,
    /// One row; negative counts from the end.
    Row(i64),
    /// Python's slice: missing ends, negative ends and ends out of range mean what they mean there.
    Slice {
        /// First row, from the end when negative.
        start: Option<i64>,
        /// First row not taken.
        stop: Option<i64>,
        /// Distance from row to row, not 0.
        step: i64,
    },
    /// Rows in any order, with repetitions; negative counts from the end.
    Rows(Vec<i64>),
    /// One flag a row.
    Mask(Vec<bool>),
}

/// The rows of a [`Selection`], all of them inside the array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSet {
    /// `len` rows from `start` on.
    Range {
        /// First row.
        start: u64,
        /// Number of rows.
        len: u64,
    },
    /// These rows in this order.
    List(Vec<u64>),
}

impl RowSet {
    /// The number of rows, repetitions counted.
    pub fn len(&self) -> u64 {
        match self {
            Self::Range { len, .. } => *len,
            Self::List(rows) => rows.len() as u64,
        }
    }

    /// Whether no row is chosen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows in order.
    pub fn rows(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        match self {
            Self::Range { start, len } => Box::new(*start..*start + *len),
            Self::List(rows) => Box::new(rows.iter().copied()),
        }
    }

    /// The rows without repetitions, ascending, as runs of neighbours.
    pub fn sorted_runs(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Range { len: 0, .. } => Vec::new(),
            Self::Range { start, len } => vec![(*start, *len)],
            Self::List(rows) => {
                let mut sorted = rows.clone();
                sorted.sort_unstable();
                sorted.dedup();
                runs_of(sorted)
            }
        }
    }
}

/// Runs of neighbours in ascending rows without repetitions.
pub(crate) fn runs_of(rows: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs = Vec::new();
    for row in rows {
        add_run(&mut runs, row, 1);
    }
    runs
}

/// Adds `len` rows from `start` on, behind all that are there, to the last run if they follow on it.
pub(crate) fn add_run(runs: &mut Vec<(u64, u64)>, start: u64, len: u64) {
    match runs.last_mut() {
        Some((last, before)) if *last + *before == start => *before += len,
        _ => runs.push((start, len)),
    }
}

impl Selection {
    /// The rows chosen in an array of `rows` rows; `name` is for the error.
    ///
    /// ```
    /// use numpack_engine::{RowSet, Selection};
    /// let last_two = Selection::Slice { start: Some(-2), stop: None, step: 1 };
    /// assert_eq!(last_two.resolve(10, "a")?, RowSet::Range { start: 8, len: 2 });
    /// assert!(Selection::Row(10).resolve(10, "a").is_err());
    /// # Ok::<(), numpack_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] for a row outside, [`Error::MaskLength`] for a mask of another length,
    /// [`Error::InvalidArgument`] for a step of 0.
    pub fn resolve(&self, rows: u64, name: &str) -> Result<RowSet> {
        match self {
            Self::All => Ok(RowSet::Range {
                start: 0,
                len: rows,
            }),
            Self::Row(index) => Ok(RowSet::Range {
                start: normalize(*index, rows, name)?,
                len: 1,
            }),
            Self::Slice { start, stop, step } => slice_rows(*start, *stop, *step, rows),
            Self::Rows(indices) => match neighbours(indices, rows) {
                Some(range) => Ok(range),
                None => Ok(compact_list(normalize_all(indices, rows, name)?)),
            },
            Self::Mask(mask) => {
                if mask.len() as u64 != rows {
                    return Err(Error::MaskLength {
                        name: name.to_owned(),
                        given: mask.len() as u64,
                        rows,
                    });
                }
                let list = mask
                    .iter()
                    .zip(0..)
                    .filter(|(on, _)| **on)
                    .map(|(_, row)| row);
                Ok(compact_list(list.collect()))
            }
        }
    }
}

/// `indices` as a range when they are rows next to each other, ascending and counted from the first one:
/// nothing need be copied.
fn neighbours(indices: &[i64], rows: u64) -> Option<RowSet> {
    let (&first, &last) = (indices.first()?, indices.last()?);
    let start = u64::try_from(first).ok()?;
    let len = indices.len() as u64;
    if start.checked_add(len - 1)? != u64::try_from(last).ok()? || start + len > rows {
        return None;
    }
    // No early end: the loop is compiled to vector instructions.
    let apart = indices.iter().zip(0..).fold(0, |apart, (index, at)| {
        apart | (index ^ first.wrapping_add(at))
    });
    (apart == 0).then_some(RowSet::Range { start, len })
}

/// `list` as a range when its rows are neighbours in ascending order.
fn compact_list(list: Vec<u64>) -> RowSet {
    match list.first() {
        Some(&first)
            if list
                .iter()
                .zip(first..)
                .all(|(&row, expected)| row == expected) =>
        {
            RowSet::Range {
                start: first,
                len: list.len() as u64,
            }
        }
        _ => RowSet::List(list),
    }
}

fn normalize(index: i64, rows: u64, name: &str) -> Result<u64> {
    let row = if index < 0 {
        rows.checked_sub(index.unsigned_abs())
    } else {
        Some(index.unsigned_abs())
    };
    row.filter(|&row| row < rows)
        .ok_or_else(|| Error::OutOfBounds {
            name: name.to_owned(),
            index,
            rows,
        })
}

/// As [`normalize`] of each, without a branch: the loop is compiled to vector instructions, and takes a
/// tenth of the time.
fn normalize_all(indices: &[i64], rows: u64, name: &str) -> Result<Vec<u64>> {
    // Below 2^63 the sign bit of one of two numbers is set for every row outside.
    let Ok(count) = i64::try_from(rows) else {
        return indices.iter().map(|&i| normalize(i, rows, name)).collect();
    };
    let mut outside = 0;
    let normalized = indices.iter().map(|&index| {
        let row = index.wrapping_add(index >> 63 & count);
        outside |= row | (count - 1).wrapping_sub(row);
        row.cast_unsigned()
    });
    let normalized: Vec<u64> = normalized.collect();
    if outside < 0 {
        for &index in indices {
            normalize(index, rows, name)?;
        }
    }
    Ok(normalized)
}

/// Python's `slice.indices`, in 128 bits so that no step can overflow.
fn slice_rows(start: Option<i64>, stop: Option<i64>, step: i64, rows: u64) -> Result<RowSet> {
    if step == 0 {
        return Err(Error::InvalidArgument(
            "slice step cannot be zero".to_owned(),
        ));
    }
    let rows = i128::from(rows);
    let step = i128::from(step);
    let (lowest, highest) = if step > 0 { (0, rows) } else { (-1, rows - 1) };
    let bound = |given: Option<i64>, missing: i128| match given.map(i128::from) {
        None => missing,
        Some(value) if value < 0 => (value + rows).max(lowest),
        Some(value) => value.min(highest),
    };
    let (first, last) = if step > 0 { (0, rows) } else { (rows - 1, -1) };
    let start = bound(start, first);
    let stop = bound(stop, last);
    let count = if step > 0 {
        (stop - start + step - 1) / step
    } else {
        (start - stop - step - 1) / -step
    };
    let count = count.max(0);
    let row = |i: i128| u64::try_from(start + i * step).unwrap_or(0);
    if step == 1 {
        return Ok(RowSet::Range {
            start: row(0),
            len: u64::try_from(count).unwrap_or(0),
        });
    }
    Ok(compact_list((0..count).map(row).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Python's rule, spelled out by counting.
    fn python_slice(start: Option<i64>, stop: Option<i64>, step: i64, rows: i64) -> Vec<u64> {
        let clamp =
            |v: i64, low: i64, high: i64| (if v < 0 { v + rows } else { v }).clamp(low, high);
        let mut out = Vec::new();
        if step > 0 {
            let mut i = start.map_or(0, |v| clamp(v, 0, rows));
            let end = stop.map_or(rows, |v| clamp(v, 0, rows));
            while i < end {
                out.push(i.unsigned_abs());
                i += step;
            }
        } else {
            let mut i = start.map_or(rows - 1, |v| clamp(v, -1, rows - 1));
            let end = stop.map_or(-1, |v| clamp(v, -1, rows - 1));
            while i > end {
                out.push(i.unsigned_abs());
                i += step;
            }
        }
        out
    }

    proptest! {
        #[test]
        fn slices_follow_python(
            start in proptest::option::of(-15_i64..15),
            stop in proptest::option::of(-15_i64..15),
            step in prop_oneof![-4_i64..0, 1_i64..5],
            rows in 0_i64..12,
        ) {
            let got = Selection::Slice { start, stop, step }.resolve(rows.unsigned_abs(), "a").unwrap();
            prop_assert_eq!(got.rows().collect::<Vec<_>>(), python_slice(start, stop, step, rows));
        }
    }

    #[test]
    fn extreme_slices_do_not_overflow() {
        let all = Selection::Slice {
            start: Some(i64::MIN),
            stop: Some(i64::MAX),
            step: i64::MAX,
        };
        assert_eq!(all.resolve(3, "a").unwrap().rows().collect::<Vec<_>>(), [0]);
        let back = Selection::Slice {
            start: None,
            stop: None,
            step: i64::MIN,
        };
        assert_eq!(
            back.resolve(3, "a").unwrap().rows().collect::<Vec<_>>(),
            [2]
        );
    }

    #[test]
    fn rows_outside_are_named() {
        for index in [3, -4, i64::MIN, i64::MAX] {
            let error = Selection::Rows(vec![0, index])
                .resolve(3, "emb")
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("array \"emb\": index {index} is out of bounds for 3 rows")
            );
        }
        assert!(Selection::Mask(vec![true; 4]).resolve(3, "emb").is_err());
        assert!(Selection::Row(0).resolve(0, "emb").is_err());
    }

    #[test]
    fn all_rows_are_normalized_as_each() {
        let edges = [i64::MIN, i64::MIN + 1, -4, -3, -2, -1, 0, 1, 2, 3, i64::MAX];
        for rows in [0, 1, 2, 3, 4, i64::MAX.unsigned_abs(), u64::MAX] {
            for index in edges {
                let each = normalize(index, rows, "a").map_err(|error| error.to_string());
                let all = normalize_all(&[index], rows, "a").map_err(|error| error.to_string());
                assert_eq!(all, each.map(|row| vec![row]), "{index} of {rows}");
            }
        }
    }

    #[test]
    fn neighbours_become_a_range() {
        let resolve = |indices: &[i64], rows| {
            let resolved = Selection::Rows(indices.to_vec()).resolve(rows, "a");
            resolved.map_err(|error| error.to_string())
        };
        let range = |start, len| Ok(RowSet::Range { start, len });
        assert_eq!(resolve(&[3, 4, 5], 6), range(3, 3));
        assert_eq!(resolve(&[7], 8), range(7, 1));
        assert_eq!(resolve(&[-3, -2, -1], 6), range(3, 3));
        assert_eq!(
            resolve(&[3, 5, 4, 6], 7),
            Ok(RowSet::List(vec![3, 5, 4, 6]))
        );
        assert_eq!(
            resolve(&[3, 4, -1, 6], 7),
            Ok(RowSet::List(vec![3, 4, 6, 6]))
        );
        assert_eq!(resolve(&[], 7), Ok(RowSet::List(vec![])));
        assert!(resolve(&[3, 4, 5], 5).is_err());
        assert!(resolve(&[i64::MAX - 1, i64::MAX], 5).is_err());
        let far = i64::MAX.unsigned_abs();
        assert_eq!(
            resolve(&[i64::MAX - 1, i64::MAX], u64::MAX),
            range(far - 1, 2)
        );
    }

    #[test]
    fn neighbours_become_runs() {
        let rows = Selection::Rows(vec![5, 1, 2, 5, -1])
            .resolve(10, "a")
            .unwrap();
        assert_eq!(rows.len(), 5);
        assert_eq!(rows.sorted_runs(), [(1, 2), (5, 1), (9, 1)]);
        let mask = Selection::Mask(vec![false, true, true, false])
            .resolve(4, "a")
            .unwrap();
        assert_eq!(mask, RowSet::Range { start: 1, len: 2 });
    }
}
