//! What the last handle of a process that may write does when it is closed.

use numpack_format::store_files;

use crate::error::Result;
use crate::options::Options;
use crate::paths;
use crate::shared::Shared;

/// Leaves the files that NumPack 0.4 reads and, where nobody looks at any, no others with rows.
pub(crate) fn finish(shared: &Shared, options: &Options) -> Result<()> {
    if shared.dir.stat(paths::JOURNAL).is_err() {
        return Ok(());
    }
    shared.refresh()?;
    let (foreign, idle) = {
        let seen = shared.seen.lock();
        let idle = seen.touched.is_empty() && !seen.recovery_due;
        (seen.foreign, idle)
    };
    if foreign {
        return Ok(());
    }
    if idle {
        sweep(shared, options);
        return Ok(());
    }
    let mut guard = shared.lock(options)?;
    if guard.has_pending() {
        guard.checkpoint(options.durability, false)?;
    }
    Ok(())
}

/// Removes files of superseded generations that somebody looked at when the last checkpoint was made. Where
/// that cannot be done they are in nobody's way, and closing has nothing to tell.
fn sweep(shared: &Shared, options: &Options) {
    let names = shared.dir.list(paths::PRIVATE_DIR).unwrap_or_default();
    if !names
        .iter()
        .any(|name| store_files::parse_generation_file(name).is_some())
    {
        return;
    }
    // Who has the lock tidies up as well.
    let options = options.unasked();
    let Ok(guard) = shared.lock(&options) else {
        return;
    };
    if guard.has_pending() || guard.must_checkpoint() {
        return;
    }
    let state = shared.state.read().clone();
    let _left_for_others = guard.remove_orphans(&state);
}
