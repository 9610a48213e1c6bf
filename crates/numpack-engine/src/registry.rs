//! One [`Shared`] a directory and process, found by the directory's identity, so that all handles
//! see each other's commits at once and share their maps.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::Result;
use crate::fs::Dir;
use crate::shared::Shared;

type Entry = ((u64, u64), Weak<Shared>);

static REGISTRY: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// The state of the store in `dir`, read anew.
pub(crate) fn shared(path: &Path, dir: &Arc<dyn Dir>) -> Result<Arc<Shared>> {
    let id = dir.id();
    let open = || Ok(Arc::new(Shared::open(path.to_path_buf(), Arc::clone(dir))?));
    // In a child forked while another thread was in here the lock is never given back; a state of
    // its own is correct too, only not shared.
    let Some(mut registry) = REGISTRY.try_lock_for(Duration::from_secs(10)) else {
        return open();
    };
    let fork = crate::fork::generation();
    registry.retain(|(_, shared)| shared.upgrade().is_some_and(|shared| shared.fork == fork));
    if let Some(found) = registry
        .iter()
        .find(|(other, _)| *other == id)
        .and_then(|(_, s)| s.upgrade())
    {
        drop(registry);
        found.reload(&mut found.seen.lock())?;
        return Ok(found);
    }
    let shared = open()?;
    registry.push((id, Arc::downgrade(&shared)));
    Ok(shared)
}
