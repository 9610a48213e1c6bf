//! One [`Shared`] a directory and process, found by the directory's identity, so that all handles
//! see each other's commits at once and share their maps.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::Result;
use crate::fs::Dir;
use crate::shared::Shared;

/// Of one directory. Whoever reads its store has it locked, and keeps nobody from other directories.
type Place = Arc<Mutex<Weak<Shared>>>;

struct Entry {
    dir: (u64, u64),
    /// [`crate::fork::generation`] of when it was made: a child of a later fork has nothing to do with it.
    fork: u64,
    place: Place,
}

/// Locked to find a place, never while anything is read.
static REGISTRY: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// How long a lock can be held that is given back at once.
const MOMENT: Duration = Duration::from_secs(2);

/// The state of the store in `dir`, read anew.
pub(crate) fn shared(path: &Path, dir: &Arc<dyn Dir>) -> Result<Arc<Shared>> {
    let open = || Ok(Arc::new(Shared::open(path.to_path_buf(), Arc::clone(dir))?));
    // In a child forked while another thread was in there the lock is never given back; a state of
    // its own is correct too, only not shared.
    let Some(place) = place(dir.id()) else {
        return open();
    };
    let mut known = place.lock();
    if let Some(found) = known.upgrade() {
        drop(known);
        found.reload(&mut found.seen.lock())?;
        return Ok(found);
    }
    let shared = open()?;
    *known = Arc::downgrade(&shared);
    Ok(shared)
}

fn place(dir: (u64, u64)) -> Option<Place> {
    let mut registry = REGISTRY.try_lock_for(MOMENT)?;
    let fork = crate::fork::generation();
    // A place that only the registry has is locked by nobody.
    registry.retain(|entry| {
        entry.fork == fork
            && (Arc::strong_count(&entry.place) > 1 || entry.place.lock().strong_count() > 0)
    });
    let known = registry.iter().find(|entry| entry.dir == dir);
    if let Some(entry) = known {
        return Some(Arc::clone(&entry.place));
    }
    let place = Place::default();
    registry.push(Entry {
        dir,
        fork,
        place: Arc::clone(&place),
    });
    Some(place)
}
