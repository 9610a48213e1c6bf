use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder,
};
use numpack_arrow::Piece;

/// What one partition of a scan has done.
#[derive(Clone, Debug)]
pub(crate) struct ScanMetrics {
    pub(crate) baseline: BaselineMetrics,
    mapped: Count,
    copied: Count,
    /// Blocks in which no row could pass; a scan without filters has none.
    pruned: Option<Count>,
    /// Pieces of work given to other threads.
    tasks: Count,
    /// Mapped and copied, by leaf.
    leaves: Vec<(Count, Count)>,
}

impl ScanMetrics {
    /// Counters of a partition; `leaves` are the names of what is read, `filtered` is whether rows are
    /// left out.
    pub(crate) fn new<'a>(
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
        leaves: impl Iterator<Item = &'a str>,
        filtered: bool,
    ) -> Self {
        let counter = |name: String| MetricBuilder::new(metrics).counter(name, partition);
        let pair = |name: &str| {
            (
                counter(format!("bytes_mapped({name})")),
                counter(format!("bytes_copied({name})")),
            )
        };
        Self {
            baseline: BaselineMetrics::new(metrics, partition),
            mapped: counter("bytes_mapped".to_owned()),
            copied: counter("bytes_copied".to_owned()),
            tasks: counter("tasks".to_owned()),
            pruned: filtered.then(|| counter("blocks_pruned".to_owned())),
            leaves: leaves.map(pair).collect(),
        }
    }

    pub(crate) fn read(&self, leaf: usize, piece: &Piece) {
        let (mapped, copied) = &self.leaves[leaf];
        mapped.add(piece.bytes_mapped);
        copied.add(piece.bytes_copied);
        self.mapped.add(piece.bytes_mapped);
        self.copied.add(piece.bytes_copied);
    }

    pub(crate) fn task(&self) {
        self.tasks.add(1);
    }

    pub(crate) fn pruned(&self, blocks: u64) {
        if let Some(pruned) = &self.pruned {
            pruned.add(usize::try_from(blocks).unwrap_or(usize::MAX));
        }
    }
}
