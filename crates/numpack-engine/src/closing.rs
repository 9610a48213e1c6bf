//! What the last handle of a process that may write does when it is closed.

use std::time::Duration;

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
        return sweep(shared, options);
    }
    let mut guard = shared.lock(options)?;
    if guard.has_pending() {
        guard.checkpoint(options.durability, false)?;
    }
    Ok(())
}

/// Removes files of superseded generations that somebody looked at when the last checkpoint was made.
fn sweep(shared: &Shared, options: &Options) -> Result<()> {
    let names = shared.dir.list(paths::PRIVATE_DIR).unwrap_or_default();
    if !names
        .iter()
        .any(|name| store_files::parse_generation_file(name).is_some())
    {
        return Ok(());
    }
    // Who has the lock tidies up as well.
    let options = options.clone().with_lock_timeout(Duration::ZERO);
    let guard = shared.lock(&options)?;
    if guard.has_pending() || guard.must_checkpoint() {
        return Ok(());
    }
    let state = shared.state.read().clone();
    guard.remove_orphans(&state)
}
