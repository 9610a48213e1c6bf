//! The pins of one store in this process: those in use, found again by who wants the same bytes, and
//! the latest few that nobody uses, mapped but, a moment after their last use, not locked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use numpack_format::ArrayName;
use parking_lot::Mutex;

use crate::fs::{File, Lock};
use crate::mapping::Mapping;
use crate::pin::{Patience, Pin, PinError, wait_shared};

/// What names the bytes of a pin: a generation of an array, which of its files, and up to which record
/// the rows that the file does not have are in their places; 0 for the file as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PinKey {
    pub(crate) name: ArrayName,
    pub(crate) part: u32,
    pub(crate) generation: u64,
    pub(crate) patched: u64,
}

/// A map that nobody looks at. Unless `held` its file is not locked, so what it shows may change.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) key: PinKey,
    pub(crate) ino: u64,
    pub(crate) mapping: Mapping,
    pub(crate) patched: Option<(u64, Mapping)>,
    pub(crate) file: Arc<dyn File>,
    /// Still locked since its last use.
    pub(crate) held: Option<Held>,
}

/// A lock that is not given back yet.
#[derive(Debug)]
pub(crate) struct Held {
    /// [`crate::fork::generation`] of who keeps it. Nobody else may give it back.
    process: u64,
    /// No look at what is held has seen it yet.
    fresh: bool,
}

impl Held {
    pub(crate) fn now() -> Self {
        Self {
            process: crate::fork::generation(),
            fresh: true,
        }
    }
}

impl Idle {
    /// Gives the lock back, if there is one; false when only closing the file does that.
    fn give_back(&mut self) -> bool {
        self.held.take().is_none_or(|held| {
            held.process == crate::fork::generation() && self.file.unlock().is_ok()
        })
    }
}

/// Pins in use are found again by a weak reference, so that a thousand views of an array share one
/// mapping. The latest few stay mapped when nobody uses them: opening and mapping a file again costs
/// several times as much as locking it again.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    cache: Mutex<Cache>,
    /// Descriptors that pins in use keep.
    files: AtomicUsize,
    mapping_locks: OnceLock<bool>,
    /// How often something was seen that another process committed.
    foreign: AtomicU64,
    /// So many pins more give their lock back at once, for who writes beside us.
    wary: AtomicU32,
}

#[derive(Debug, Default)]
struct Cache {
    used: HashMap<PinKey, Weak<Pin>>,
    idle: VecDeque<Idle>,
    /// Somebody will look whether locks are to be given back.
    watched: bool,
}

/// Idle maps that are kept, and with each a descriptor.
const IDLE: usize = 128;
/// Descriptors that pins in use keep at the most: a process may hold few, and views many arrays.
const FILES: usize = 128;
/// Uses after another process's commit in which locks are given back at once. A loop that does nothing but
/// load takes some 50 ms for them: who commits more often finds the files as free as ever.
const WARY: u32 = 10_000;

impl Pins {
    /// The pin under `key` if it is in use and maps at least `len` bytes.
    pub(crate) fn find(&self, key: &PinKey, len: usize) -> Option<Arc<Pin>> {
        let pin = self.cache.lock().used.get(key)?.upgrade()?;
        (pin.bytes().len() >= len).then_some(pin)
    }

    /// Remembers `pin` under `key` as long as it is in use.
    pub(crate) fn keep(&self, key: PinKey, pin: &Arc<Pin>) {
        let mut cache = self.cache.lock();
        if cache.used.len() > 4 * IDLE && cache.used.len().is_power_of_two() {
            cache.used.retain(|_, pin| pin.strong_count() > 0);
        }
        cache.used.insert(key, Arc::downgrade(pin));
    }

    /// Takes in a map that nobody uses any more.
    pub(crate) fn rest(self: &Arc<Self>, idle: Idle) {
        let mut unmapped = Vec::new();
        let mut cache = self.cache.lock();
        let unwatched = idle.held.is_some() && !std::mem::replace(&mut cache.watched, true);
        // One a file: an older generation would keep its disk space for nobody.
        let same =
            |other: &Idle| other.key.name == idle.key.name && other.key.part == idle.key.part;
        while let Some(at) = cache.idle.iter().position(same) {
            unmapped.extend(cache.idle.remove(at));
        }
        cache.idle.push_back(idle);
        if cache.idle.len() > IDLE {
            unmapped.extend(cache.idle.pop_front());
        }
        drop(cache);
        // Unmapping takes its time: not under the lock.
        drop(unmapped);
        if unwatched && !crate::reaper::watch(self) {
            self.give_back_all();
        }
    }

    /// Another process has committed something: it may want to write to the files.
    pub(crate) fn note_foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
        self.wary.store(WARY, Ordering::Relaxed);
        self.give_back_all();
    }

    pub(crate) fn foreign(&self) -> u64 {
        self.foreign.load(Ordering::Relaxed)
    }

    /// Whether a pin that was woken when [`Self::foreign`] was `then` may keep its lock when it rests.
    pub(crate) fn may_hold(&self, then: u64) -> bool {
        let wary = self.wary.load(Ordering::Relaxed);
        if wary > 0 {
            // Two at once may count as one.
            self.wary.store(wary - 1, Ordering::Relaxed);
        }
        wary == 0 && then == self.foreign()
    }

    /// Gives back the locks of all maps that nobody uses.
    pub(crate) fn give_back_all(&self) {
        let mut cache = self.cache.lock();
        if std::mem::take(&mut cache.watched) {
            cache.idle.retain_mut(Idle::give_back);
        }
    }

    /// Gives back the locks of those that nobody has used since the last call; whether others are left.
    pub(crate) fn give_back_old(&self) -> bool {
        let mut cache = self.cache.lock();
        let mut left = false;
        cache.idle.retain_mut(|idle| {
            let fresh = idle.held.as_mut().map(|held| &mut held.fresh);
            if fresh.is_some_and(std::mem::take) {
                left = true;
                return true;
            }
            idle.give_back()
        });
        cache.watched = left;
        left
    }

    pub(crate) fn gave_up_file(&self) {
        self.files.fetch_sub(1, Ordering::Relaxed);
    }

    /// An idle map under `key` of at least `len` bytes, locked again if it is not locked still.
    pub(crate) fn wake(
        self: &Arc<Self>,
        key: &PinKey,
        len: usize,
        patience: Patience<'_>,
    ) -> Result<Option<Pin>, PinError> {
        let found = {
            let mut cache = self.cache.lock();
            let at = cache.idle.iter().position(|idle| idle.key == *key);
            at.and_then(|at| cache.idle.remove(at))
        };
        let Some(idle) = found.filter(|idle| idle.mapping.as_ref().len() >= len) else {
            return Ok(None);
        };
        if idle.held.is_none() {
            wait_shared(&*idle.file, patience)?;
        }
        Ok(Some(self.admit(idle, Some(self.foreign()))))
    }

    fn admit(self: &Arc<Self>, idle: Idle, woken: Option<u64>) -> Pin {
        let must = self.mapping_locks.get() != Some(&true);
        let keep = self.files.fetch_add(1, Ordering::Relaxed) < FILES || must;
        if !keep {
            self.gave_up_file();
        }
        Pin::locked(idle, keep, woken, self)
    }

    /// Lets go of all maps that nobody uses.
    pub(crate) fn release_idle(&self) {
        let mut cache = self.cache.lock();
        let unmapped = std::mem::take(&mut cache.idle);
        cache.used.retain(|_, pin| pin.strong_count() > 0);
        drop(cache);
        drop(unmapped);
    }

    /// Lets go of what nobody uses of a generation that has been replaced.
    pub(crate) fn forget(&self, generation: u64) {
        let mut unmapped = Vec::new();
        let mut cache = self.cache.lock();
        while let Some(at) = cache
            .idle
            .iter()
            .position(|idle| idle.key.generation == generation)
        {
            unmapped.extend(cache.idle.remove(at));
        }
        drop(cache);
        drop(unmapped);
    }

    /// How many arrays are mapped by somebody, and how many maps nobody uses.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let cache = self.cache.lock();
        let used = (cache.used.iter()).filter(|(_, pin)| pin.strong_count() > 0);
        let names: HashSet<&ArrayName> = used.map(|(key, _)| &key.name).collect();
        (names.len(), cache.idle.len())
    }

    /// Maps that nobody uses.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.cache.lock().idle.len()
    }

    /// Locks and maps the first `len` bytes of `file`. `again` opens the same file once more.
    pub(crate) fn pin(
        self: &Arc<Self>,
        key: PinKey,
        file: Arc<dyn File>,
        len: usize,
        again: &dyn Fn() -> std::io::Result<Arc<dyn File>>,
        patience: Patience<'_>,
    ) -> Result<Pin, PinError> {
        self.learn(again);
        wait_shared(&*file, patience)?;
        let ino = file.stat().map_err(PinError::Io)?.ino;
        let mapping = file.map(len).map_err(PinError::Io)?;
        let idle = Idle {
            key,
            ino,
            mapping,
            patched: None,
            file,
            held: None,
        };
        Ok(self.admit(idle, None))
    }

    /// Finds out whether a mapping made here keeps the lock of a closed descriptor. When others lock the
    /// file nothing can be learned this time.
    fn learn(&self, again: &dyn Fn() -> std::io::Result<Arc<dyn File>>) {
        if self.mapping_locks.get().is_some() {
            return;
        }
        let learned = || -> std::io::Result<Option<bool>> {
            let (mapped, other) = (again()?, again()?);
            if mapped.stat()?.len == 0 || !other.try_lock(Lock::Exclusive)? {
                return Ok(None);
            }
            other.unlock()?;
            if !mapped.try_lock(Lock::Shared)? {
                return Ok(None);
            }
            let mapping = mapped.map(1)?;
            drop(mapped);
            let lost = other.try_lock(Lock::Exclusive)?;
            drop(mapping);
            Ok(Some(!lost))
        };
        if let Ok(Some(holds)) = learned() {
            self.mapping_locks.get_or_init(|| holds);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::fs::{Dir, Fs, MemoryFs, Open, RealFs, write_all_at};
    use crate::overlay::Overlay;

    fn patience() -> Patience<'static> {
        Patience {
            timeout: Duration::from_millis(1),
            interrupt: None,
        }
    }

    fn key() -> PinKey {
        PinKey {
            name: ArrayName::new("f").unwrap(),
            part: 0,
            generation: 1,
            patched: 0,
        }
    }

    fn pin(pins: &Arc<Pins>, dir: &Arc<dyn Dir>, len: usize) -> Result<Pin, PinError> {
        let again = || dir.open("f", Open::Read);
        pins.pin(key(), again().unwrap(), len, &again, patience())
    }

    fn memory() -> Arc<dyn Dir> {
        let dir = MemoryFs::default().open_dir(Path::new("d"), true).unwrap();
        write_all_at(&*dir.open("f", Open::Create).unwrap(), &[1; 100], 0).unwrap();
        dir
    }

    /// Whether a writer could change the file now.
    fn is_free(dir: &Arc<dyn Dir>) -> bool {
        let writer = dir.open("f", Open::Write).unwrap();
        let free = writer.try_lock(Lock::Exclusive).unwrap();
        writer.unlock().unwrap();
        free
    }

    /// The property everything rests on, checked on this machine's file system: a mapping keeps the
    /// lock although its descriptor is closed, and gives it back when it goes.
    #[test]
    fn a_pin_locks_its_inode_until_it_is_dropped() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RealFs.open_dir(temp.path(), false).unwrap();
        write_all_at(&*dir.open("f", Open::Create).unwrap(), &[1; 100], 0).unwrap();
        for keep in [true, false] {
            let pins = Arc::new(Pins::default());
            if !keep {
                pins.files.store(FILES, Ordering::Relaxed);
            }
            let held = pin(&pins, &dir, 50).unwrap();
            assert_eq!(held.bytes(), [1; 50]);
            assert!(!is_free(&dir), "pinned");
            drop(held);
            assert!(is_free(&dir), "free again");
            assert_eq!(pins.idle(), usize::from(keep));
        }
        let writer = dir.open("f", Open::Write).unwrap();
        assert!(writer.try_lock(Lock::Exclusive).unwrap());
        let pins = Arc::new(Pins::default());
        assert!(matches!(pin(&pins, &dir, 50), Err(PinError::Busy)));
    }

    #[test]
    fn an_idle_map_is_locked_again_and_shows_what_the_file_has_by_then() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RealFs.open_dir(temp.path(), false).unwrap();
        write_all_at(&*dir.open("f", Open::Create).unwrap(), &[1; 100], 0).unwrap();
        let pins = Arc::new(Pins::default());
        drop(pin(&pins, &dir, 50).unwrap());
        write_all_at(&*dir.open("f", Open::Write).unwrap(), &[2; 9], 0).unwrap();
        assert!(
            pins.wake(&key(), 51, patience()).unwrap().is_none(),
            "too short"
        );
        drop(pin(&pins, &dir, 50).unwrap());
        let again = pins.wake(&key(), 50, patience()).unwrap().unwrap();
        assert_eq!(again.bytes()[..10], [2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
        assert!(!is_free(&dir));
        assert!(
            pins.wake(&key(), 50, patience()).unwrap().is_none(),
            "in use"
        );
        drop(again);
        pins.release_idle();
        assert_eq!(pins.idle(), 0);
    }

    /// In the in-memory file system a copy holds no lock, as on overlayfs: the pin keeps its file.
    #[test]
    fn without_locks_by_mapping_the_file_stays_open() {
        let dir = memory();
        let pins = Arc::new(Pins::default());
        pins.files.store(FILES, Ordering::Relaxed);
        let held = pin(&pins, &dir, 50).unwrap();
        assert_eq!(pins.mapping_locks.get(), Some(&false));
        assert!(!is_free(&dir));
        drop(held);
        assert!(is_free(&dir));
    }

    #[test]
    fn a_patched_map_rests_on_the_lock_of_its_base() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RealFs.open_dir(temp.path(), false).unwrap();
        write_all_at(&*dir.open("f", Open::Create).unwrap(), &[1; 100], 0).unwrap();
        let pins = Arc::new(Pins::default());
        let base = Arc::new(pin(&pins, &dir, 100).unwrap());
        let mut overlay = Overlay::default();
        overlay.push(7, &[(3, 2)].into(), &[9; 2].into(), 1);
        let patched = Pin::patched(&base, 100, &overlay, true, || None).unwrap();
        assert_eq!(patched.bytes()[..6], [1, 1, 1, 9, 9, 1]);
        assert_eq!(base.bytes()[..6], [1; 6]);
        drop(base);
        assert!(!is_free(&dir), "the patched map is in use");
        let address = patched.bytes().as_ptr();
        drop(patched);
        assert!(is_free(&dir));
        // Both maps rest, and are found again.
        let base = Arc::new(pins.wake(&key(), 100, patience()).unwrap().unwrap());
        let again = Pin::patched(&base, 100, &overlay, true, || None).unwrap();
        assert_eq!(again.bytes().as_ptr(), address);
        overlay.push(8, &[(0, 1)].into(), &[5].into(), 1);
        let newer = Pin::patched(&base, 100, &overlay, true, || None).unwrap();
        assert_eq!(newer.bytes()[..6], [5, 1, 1, 9, 9, 1]);
        assert_eq!(again.bytes()[..6], [1, 1, 1, 9, 9, 1]);
    }

    #[test]
    fn a_pin_in_use_is_shared_for_no_more_bytes_than_it_has() {
        let dir = memory();
        let pins = Arc::new(Pins::default());
        let held = Arc::new(pin(&pins, &dir, 50).unwrap());
        pins.keep(key(), &held);
        assert!(pins.find(&key(), 50).is_some());
        assert!(pins.find(&key(), 51).is_none());
        drop(held);
        assert!(pins.find(&key(), 50).is_none());
    }
}
