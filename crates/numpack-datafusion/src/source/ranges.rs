use std::fmt;
use std::ops::Range;

/// Rows as ascending ranges with gaps between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowRanges(Vec<Range<u64>>);

impl RowRanges {
    /// The rows of `range`, none if it is the wrong way round.
    pub(crate) fn one(range: Range<u64>) -> Self {
        Self::of([range])
    }

    /// The rows of all `ranges`, which may come in any order and overlap.
    pub(crate) fn of(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|r| r.start < r.end).collect();
        sorted.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// The ranges, ascending.
    pub(crate) fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// The `rows` first of them, or the last.
    pub(crate) fn end(&self, rows: u64, last: bool) -> Self {
        let mut left = rows;
        let mut taken = Vec::new();
        let mut take = |range: &Range<u64>| {
            let rows = left.min(range.end - range.start);
            left -= rows;
            taken.push(if last {
                range.end - rows..range.end
            } else {
                range.start..range.start + rows
            });
            left > 0
        };
        if last {
            self.0.iter().rev().all(&mut take);
        } else {
            self.0.iter().all(&mut take);
        }
        Self::of(taken)
    }

    /// The rows that are in both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let range = x.start.max(y.start)..x.end.min(y.end);
            if range.start < range.end {
                both.push(range);
            }
            if x.end <= y.end {
                a.next();
            } else {
                b.next();
            }
        }
        Self(both)
    }

    /// The rows that are in either.
    pub(crate) fn or(self, other: Self) -> Self {
        Self::of(self.0.into_iter().chain(other.0))
    }

    /// The rows below `rows` that are not in here.
    pub(crate) fn not(&self, rows: u64) -> Self {
        let starts = std::iter::once(0).chain(self.0.iter().map(|range| range.end));
        let ends = self.0.iter().map(|range| range.start).chain([rows]);
        Self::of(starts.zip(ends).map(|(start, end)| start..end))
    }
}

impl fmt::Display for RowRanges {
    /// The first few ranges, as `0..5, 8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        for (index, range) in self.0.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if range.end - range.start == 1 {
                write!(f, "{}", range.start)?;
            } else {
                write!(f, "{}..{}", range.start, range.end)?;
            }
        }
        match self.0.len().checked_sub(SHOWN) {
            Some(more) if more > 0 => write!(f, ", {more} more"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RowRanges;

    #[test]
    fn ranges_are_sets() {
        let set = |ranges: &[(u64, u64)]| RowRanges::of(ranges.iter().map(|&(a, b)| a..b));
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..500 {
            let mut some = || {
                let count = random(4);
                let ranges: Vec<_> = (0..count).map(|_| (random(20), random(20))).collect();
                set(&ranges)
            };
            let (a, b) = (some(), some());
            let has = |set: &RowRanges, row| set.ranges().iter().any(|r| r.contains(&row));
            let (and, or, not) = (a.and(&b), a.clone().or(b.clone()), a.not(20));
            for row in 0..20 {
                assert_eq!(has(&and, row), has(&a, row) && has(&b, row));
                assert_eq!(has(&or, row), has(&a, row) || has(&b, row));
                assert_eq!(has(&not, row), !has(&a, row));
            }
            for made in [and, or, not] {
                assert_eq!(RowRanges::of(made.ranges().to_vec()), made, "merged");
            }
        }
    }

    #[test]
    fn either_end_can_be_taken() {
        let rows = RowRanges::of([0..3, 5..9]);
        assert_eq!(rows.end(4, false), RowRanges::of([0..3, 5..6]));
        assert_eq!(rows.end(4, true), RowRanges::one(5..9));
        assert_eq!(rows.end(0, true), RowRanges::of([]));
        assert_eq!(rows.end(99, true), rows);
    }

    #[test]
    fn few_ranges_are_shown() {
        let shown = |rows: &[u64]| RowRanges::of(rows.iter().map(|&r| r..r + 1)).to_string();
        assert_eq!(shown(&[]), "");
        assert_eq!(shown(&[1, 2, 3, 8]), "1..4, 8");
        assert_eq!(shown(&[0, 2, 4, 6, 8, 10]), "0, 2, 4, 6, 2 more");
    }
}
