//! The zones that are kept, by the rows that they are of.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, TryLockError};

use arrow::datatypes::DataType;
use numpack_engine::{ArraySnapshot, RowsIdentity};

use super::Zones;

/// Bytes of all zones together, 24 a block.
const MOST_BYTES: usize = 64 << 20;

/// Columns that are remembered.
const MOST_COLUMNS: usize = 4096;

/// How often the lock is tried for.
const TRIES: usize = 1000;

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

/// A column: rows that never change, and the value of each that it is of where these are lists.
type Key = (RowsIdentity, Option<usize>);

#[derive(Debug, Default)]
struct Cache {
    columns: HashMap<Key, Kept>,
    bytes: usize,
    /// Counts what is asked for.
    clock: u64,
}

#[derive(Debug)]
struct Kept {
    zones: Arc<Zones>,
    used: u64,
}

/// The zones of a column, none of them known if nobody has asked before; None for a column that has
/// none.
pub(crate) fn zones(
    array: &ArraySnapshot,
    position: Option<usize>,
    data_type: &DataType,
) -> Option<Arc<Zones>> {
    let key = (array.identity(), position);
    let mut cache = lock()?;
    if let Some(zones) = cache.get(&key) {
        return Some(zones);
    }
    let zones = Arc::new(Zones::new(data_type, array.rows())?);
    cache.put(key, &zones);
    Some(zones)
}

/// The zones of a column, if somebody has asked for them before.
pub(crate) fn known(array: &ArraySnapshot, position: Option<usize>) -> Option<Arc<Zones>> {
    lock()?.get(&(array.identity(), position))
}

/// The cache, unless it stays locked: it is held for microseconds, but for ever in a child that was
/// forked meanwhile. Going without costs time only.
fn lock() -> Option<MutexGuard<'static, Cache>> {
    for _ in 0..TRIES {
        match CACHE.try_lock() {
            Ok(cache) => return Some(cache),
            Err(TryLockError::Poisoned(broken)) => return Some(broken.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

impl Cache {
    fn get(&mut self, key: &Key) -> Option<Arc<Zones>> {
        self.clock += 1;
        let kept = self.columns.get_mut(key)?;
        kept.used = self.clock;
        Some(Arc::clone(&kept.zones))
    }

    fn put(&mut self, key: Key, zones: &Arc<Zones>) {
        self.bytes += zones.bytes();
        let kept = Kept {
            zones: Arc::clone(zones),
            used: self.clock,
        };
        self.columns.insert(key, kept);
        if self.is_full() {
            self.remove(|(rows, _), _| rows.is_gone());
        }
        if self.is_full() {
            // The half that was asked for last is kept.
            let mut used: Vec<u64> = self.columns.values().map(|kept| kept.used).collect();
            let middle = used.len() / 2;
            let (_, &mut middle, _) = used.select_nth_unstable(middle);
            self.remove(|_, kept| kept.used < middle);
        }
    }

    fn is_full(&self) -> bool {
        self.bytes > MOST_BYTES || self.columns.len() > MOST_COLUMNS
    }

    fn remove(&mut self, which: impl Fn(&Key, &Kept) -> bool) {
        self.columns.retain(|key, kept| !which(key, kept));
        self.bytes = self.columns.values().map(|kept| kept.zones.bytes()).sum();
    }
}

#[cfg(test)]
mod tests {
    use numpack_engine::{Options, Store};
    use numpack_format::{ArrayMeta, DType};

    use super::*;

    #[test]
    fn what_is_gone_or_long_unused_makes_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(&dir.path().join("a.npk"), &Options::default()).expect("a store");
        let put = || {
            let mut change = store.begin().expect("a transaction");
            let meta = ArrayMeta::new(DType::UInt8, &[70_000]).expect("a shape");
            let rows = vec![0; 70_000];
            change.put("x", &meta, &mut &*rows).expect("rows");
            change.commit().expect("a commit");
            store.array("x").expect("an array")
        };
        let (old, new) = (put().identity(), put());
        let mut cache = Cache::default();
        let zones = Arc::new(Zones::new(&DataType::UInt8, 70_000).expect("enough blocks"));
        cache.put((old.clone(), None), &zones);
        for position in 0..MOST_COLUMNS {
            cache.put((new.identity(), Some(position)), &zones);
            assert!(cache.get(&(new.identity(), Some(0))).is_some());
        }
        assert_eq!(cache.columns.len(), MOST_COLUMNS);
        assert!(cache.get(&(old, None)).is_none());
        cache.put((new.identity(), None), &zones);
        assert!(cache.columns.len() < MOST_COLUMNS / 2 + 2);
        assert!(cache.get(&(new.identity(), Some(0))).is_some());
        assert!(cache.get(&(new.identity(), Some(1))).is_none());
        assert_eq!(cache.bytes, cache.columns.len() * zones.bytes());
    }
}
