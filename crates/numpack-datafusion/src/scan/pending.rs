use super::rows::Rows;

/// Survivors of many chunks on their way into full batches.
#[derive(Debug)]
pub(crate) struct Pending {
    rows: Rows,
    batch_rows: usize,
    /// Rows that may still be given out.
    left: usize,
    /// Whether it does not matter which rows they are.
    counts: bool,
}

impl Pending {
    pub(crate) fn new(batch_rows: usize, fetch: Option<usize>, counts: bool) -> Self {
        Self {
            rows: Rows::none(),
            batch_rows: batch_rows.max(1),
            left: fetch.unwrap_or(usize::MAX),
            counts,
        }
    }

    /// Whether no further row is wanted.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Adds the survivors of a chunk; gives the batches that are full by then.
    ///
    /// Many neighbours are a batch of their own, which needs no copy, rather than filling one up.
    pub(crate) fn push(&mut self, survivors: Rows) -> Vec<Rows> {
        let mut full = Vec::new();
        let survivors = match &self.rows {
            Rows::Range(range) if self.counts => {
                Rows::Range(range.end..range.end + survivors.len() as u64)
            }
            _ => survivors,
        };
        let lonely = matches!(&survivors, Rows::Range(range) if !self.continues(range.start));
        if lonely && survivors.len() * 2 > self.batch_rows {
            full.extend(self.flush());
        }
        self.rows.extend(survivors);
        while self.left > 0 && self.rows.len() >= self.batch_rows.min(self.left) {
            full.push(self.take());
        }
        full
    }

    /// What is left at the end.
    pub(crate) fn flush(&mut self) -> Option<Rows> {
        (self.left > 0 && !self.rows.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Rows {
        let rows = self.rows.take(self.batch_rows.min(self.left));
        self.left -= rows.len();
        rows
    }

    fn continues(&self, row: u64) -> bool {
        match &self.rows {
            Rows::Range(range) => range.is_empty() || range.end == row,
            Rows::List(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_fill_batches_up_to_the_limit() {
        let mut pending = Pending::new(4, Some(9), false);
        assert!(pending.push(Rows::List(vec![1, 3])).is_empty());
        let full = pending.push(Rows::List(vec![5, 6, 7]));
        assert_eq!(full, [Rows::List(vec![1, 3, 5, 6])]);
        let full = pending.push(Rows::Range(10..14));
        assert_eq!(full, [Rows::List(vec![7]), Rows::Range(10..14)]);
        assert!(pending.is_done());
        assert_eq!(pending.flush(), None);
    }

    #[test]
    fn neighbours_of_two_chunks_stay_neighbours() {
        let mut pending = Pending::new(4, None, false);
        assert!(pending.push(Rows::Range(6..8)).is_empty());
        assert_eq!(pending.push(Rows::Range(8..12)), [Rows::Range(6..10)]);
        assert_eq!(pending.flush(), Some(Rows::Range(10..12)));
        assert_eq!(pending.flush(), None);
    }
}
