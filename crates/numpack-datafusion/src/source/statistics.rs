//! What is known of a source's rows before they are read.

use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use numpack_format::DType;

use super::leaf::Leaf;
use super::{NumPackSource, RowRanges};

/// One row in this many is expected to pass filters of which nothing is known, as DataFusion has it.
const SELECTED: usize = 5;

impl NumPackSource {
    /// Of the rows `wanted`; exact without filters.
    pub(super) fn statistics(&self, wanted: &RowRanges) -> Statistics {
        let Ok(rows) = usize::try_from(wanted.len()) else {
            return Statistics::new_unknown(&self.schema);
        };
        let columns = self.output.iter();
        let columns: Vec<ColumnStatistics> = columns
            .map(|&leaf| self.column_statistics(leaf, wanted, rows))
            .collect();
        let size = columns.iter().fold(Precision::Exact(0), |sum, column| {
            sum.add(&column.byte_size)
        });
        let statistics = Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: size,
            column_statistics: columns,
        };
        if self.filters.is_empty() {
            return statistics;
        }
        let some = |all: usize| all.div_ceil(SELECTED);
        let mut statistics = statistics.to_inexact();
        let passing = some(rows).min(self.fetch.unwrap_or(usize::MAX));
        statistics.num_rows = Precision::Inexact(passing);
        statistics.total_byte_size = statistics.total_byte_size.map(some);
        for column in &mut statistics.column_statistics {
            column.byte_size = std::mem::take(&mut column.byte_size).map(some);
        }
        statistics
    }

    fn column_statistics(&self, leaf: usize, wanted: &RowRanges, rows: usize) -> ColumnStatistics {
        let mut statistics = ColumnStatistics::new_unknown().with_null_count(Precision::Exact(0));
        if self.filters.is_empty()
            && wanted.len() == self.relation.rows()
            && let Some((low, high)) = self.leaves.bounds(&self.relation, leaf)
        {
            let exact = |value: Option<_>| value.map_or(Precision::Absent, Precision::Exact);
            statistics = statistics
                .with_min_value(exact(low))
                .with_max_value(exact(high));
        }
        let array = match self.leaves.get(leaf) {
            Leaf::RowId => return row_id_statistics(statistics, wanted, rows),
            // The values' size follows from the rest of the plan.
            Leaf::Item { .. } => return statistics,
            Leaf::Column(column) => self.relation.array(column),
        };
        let Some(array) = array else {
            return statistics;
        };
        // Bools are packed on the way, so theirs is an upper bound.
        let size = rows.saturating_mul(array.row_bytes());
        let size = if array.dtype() == DType::Bool {
            Precision::Inexact(size)
        } else {
            Precision::Exact(size)
        };
        statistics.with_byte_size(size)
    }
}

fn row_id_statistics(
    statistics: ColumnStatistics,
    wanted: &RowRanges,
    rows: usize,
) -> ColumnStatistics {
    let (Some(first), Some(last)) = (wanted.ranges().first(), wanted.ranges().last()) else {
        return statistics;
    };
    let bound = |row: u64| {
        let row = i64::try_from(row).map_or(Precision::Absent, Precision::Exact);
        row.map(ScalarValue::from)
    };
    statistics
        .with_min_value(bound(first.start))
        .with_max_value(bound(last.end - 1))
        .with_distinct_count(Precision::Exact(rows))
        .with_byte_size(Precision::Exact(rows.saturating_mul(size_of::<i64>())))
}
