use datafusion::physical_expr::expressions::DynamicFilterTracking;

use super::Scan;
use super::chunks::Chunks;

/// Leaves blocks out that no row of can pass: at the start, and again when a filter has sharpened.
pub(super) struct Looks {
    /// By filter.
    tracking: Vec<DynamicFilterTracking>,
    /// Rounds between two looks: more and more while looking finds nothing.
    pause: u32,
    /// Rounds until the next look.
    left: u32,
}

impl Looks {
    /// Looks for the first time.
    pub(super) fn new(scan: &Scan, chunks: &mut Chunks) -> Self {
        let filters = scan.filters.iter();
        let looks = Self {
            tracking: filters
                .map(|filter| DynamicFilterTracking::classify(filter.expr()))
                .collect(),
            pause: 1,
            left: 1,
        };
        for filter in 0..scan.filters.len() {
            look(scan, chunks, filter);
        }
        looks
    }

    /// To be called once a round.
    pub(super) fn again(&mut self, scan: &Scan, chunks: &mut Chunks) {
        self.left -= 1;
        if self.left > 0 {
            return;
        }
        let mut looked = false;
        let mut found = 0;
        for (filter, tracking) in self.tracking.iter_mut().enumerate() {
            if tracking
                .watcher()
                .is_some_and(datafusion::physical_expr::expressions::DynamicFilterTracker::changed)
            {
                looked = true;
                found += look(scan, chunks, filter);
            }
        }
        self.pause = match (looked, found) {
            (true, 0) => self.pause.saturating_mul(2),
            (true, _) => 1,
            (false, _) => self.pause,
        };
        self.left = self.pause;
    }
}

/// Leaves out what a filter excludes; gives the number of blocks.
fn look(scan: &Scan, chunks: &mut Chunks, filter: usize) -> u64 {
    let pruned = scan.kept(filter).map_or(0, |kept| chunks.keep(&kept));
    scan.metrics.pruned(pruned);
    pruned
}
