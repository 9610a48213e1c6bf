//! Pins: a mapping of one generation of one array, whose inode is locked (shared) as long as the
//! mapping lives, so that nobody who plays by the rules changes a byte under it.
//!
//! On Linux the kernel keeps a `flock` as long as a mapping made through its descriptor exists, so a
//! pin costs no descriptor. Where that does not hold (overlayfs maps another file than the one it
//! locks) a pin keeps its descriptor open; which it is, is found out once for each store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::fs::{File, Lock, Stat};
use crate::mapping::{Mapping, PrivateMapping};

/// A mapped, locked file.
#[derive(Debug)]
pub(crate) struct Pin {
    mapping: Mapping,
    /// Kept open where the mapping alone does not hold the lock.
    _file: Option<Arc<dyn File>>,
}

impl Pin {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.mapping.as_ref()
    }
}

/// Writable private memory over a locked file.
#[derive(Debug)]
pub(crate) struct PrivatePin {
    pub(crate) mapping: PrivateMapping,
    _file: Option<Arc<dyn File>>,
}

/// Why a file cannot be pinned.
#[derive(Debug)]
pub(crate) enum PinError {
    Io(std::io::Error),
    /// A writer held the file longer than the timeout.
    Busy,
    Interrupted,
}

/// How to wait for a lock.
#[derive(Clone, Copy)]
pub(crate) struct Patience<'a> {
    pub(crate) timeout: Duration,
    pub(crate) interrupted: &'a dyn Fn() -> bool,
}

/// Where a file to pin comes from.
pub(crate) struct Source<'a> {
    /// Opens the same file once more.
    pub(crate) again: &'a dyn Fn() -> std::io::Result<Arc<dyn File>>,
    /// What is there by its name now.
    pub(crate) named: &'a dyn Fn() -> std::io::Result<Stat>,
    pub(crate) patience: Patience<'a>,
}

/// What names the bytes of a pin: a generation of an array, and which of its files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PinKey {
    pub(crate) file: String,
    pub(crate) generation: u64,
}

/// The pins of one store in this process.
///
/// Pins in use are found again by a weak reference, so that a thousand views of an array share one
/// mapping. The latest few stay mapped although nobody uses them: opening, locking and mapping a file
/// again costs three times as much as all the rest of a lazy load.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    inner: Mutex<Cache>,
    mapping_locks: OnceLock<bool>,
}

#[derive(Debug, Default)]
struct Cache {
    pins: HashMap<PinKey, Weak<Pin>>,
    recent: VecDeque<(PinKey, Arc<Pin>)>,
}

const RECENT: usize = 32;

impl Pins {
    /// The pin under `key` if it maps at least `len` bytes.
    pub(crate) fn find(&self, key: &PinKey, len: usize) -> Option<Arc<Pin>> {
        let pin = self.inner.lock().pins.get(key)?.upgrade()?;
        (pin.bytes().len() >= len).then_some(pin)
    }

    /// Remembers `pin` under `key`.
    pub(crate) fn keep(&self, key: PinKey, pin: &Arc<Pin>) {
        let mut cache = self.inner.lock();
        if cache.pins.len() > 4 * RECENT && cache.pins.len().is_power_of_two() {
            cache.pins.retain(|_, pin| pin.strong_count() > 0);
        }
        cache.pins.insert(key.clone(), Arc::downgrade(pin));
        // One an array: an older generation would keep its disk space for nobody.
        cache.recent.retain(|(other, _)| other.file != key.file);
        cache.recent.push_back((key, Arc::clone(pin)));
        if cache.recent.len() > RECENT {
            cache.recent.pop_front();
        }
    }

    /// Lets go of the pins that nobody uses.
    pub(crate) fn release_idle(&self) {
        let mut cache = self.inner.lock();
        cache.recent.clear();
        cache.pins.retain(|_, pin| pin.strong_count() > 0);
    }

    /// Lets go of what nobody uses of a generation that has been replaced.
    pub(crate) fn forget(&self, generation: u64) {
        let mut cache = self.inner.lock();
        cache.recent.retain(|(key, _)| key.generation != generation);
    }

    /// Locks and maps the first `len` bytes of `file`.
    pub(crate) fn pin(
        &self,
        file: Arc<dyn File>,
        len: usize,
        source: &Source<'_>,
    ) -> Result<Pin, PinError> {
        let holds = self.mapping_locks(source);
        lock_shared(&*file, source)?;
        let mapping = file.map(len).map_err(PinError::Io)?;
        Ok(Pin {
            mapping,
            _file: (!holds).then_some(file),
        })
    }

    /// The same for private writable memory.
    pub(crate) fn pin_private(
        &self,
        file: Arc<dyn File>,
        len: usize,
        source: &Source<'_>,
    ) -> Result<PrivatePin, PinError> {
        let holds = self.mapping_locks(source);
        lock_shared(&*file, source)?;
        let mapping = file.map_private(len).map_err(PinError::Io)?;
        Ok(PrivatePin {
            mapping,
            _file: (!holds).then_some(file),
        })
    }

    /// Whether a mapping made here keeps the lock of a closed descriptor. Answers no, for this time
    /// only, when others lock the file, because then nothing can be learned.
    fn mapping_locks(&self, source: &Source<'_>) -> bool {
        if let Some(&holds) = self.mapping_locks.get() {
            return holds;
        }
        let learned = || -> std::io::Result<Option<bool>> {
            let (mapped, other) = ((source.again)()?, (source.again)()?);
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
        match learned() {
            Ok(Some(holds)) => *self.mapping_locks.get_or_init(|| holds),
            Ok(None) | Err(_) => false,
        }
    }
}

/// Takes the shared lock of `file`, and makes sure that it is still the file that it was opened as: a
/// writer uses the file of a replaced generation again when nobody holds it.
fn lock_shared(file: &dyn File, source: &Source<'_>) -> Result<(), PinError> {
    wait_shared(file, source.patience)?;
    let named = (source.named)().map_err(PinError::Io)?;
    let opened = file.stat().map_err(PinError::Io)?;
    if named.ino == opened.ino {
        Ok(())
    } else {
        Err(PinError::Io(std::io::ErrorKind::NotFound.into()))
    }
}

fn wait_shared(file: &dyn File, patience: Patience<'_>) -> Result<(), PinError> {
    let start = std::time::Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        match file.try_lock(Lock::Shared) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // No advisory locks on this file system. In this release no file is changed in place,
            // so a pin without a lock is still a snapshot.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
            Err(error) => return Err(PinError::Io(error)),
        }
        if (patience.interrupted)() {
            return Err(PinError::Interrupted);
        }
        if start.elapsed() >= patience.timeout {
            return Err(PinError::Busy);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Fs, MemoryFs, Open, RealFs, write_all_at};

    fn source<'a>(
        again: &'a dyn Fn() -> std::io::Result<Arc<dyn File>>,
        named: &'a dyn Fn() -> std::io::Result<Stat>,
    ) -> Source<'a> {
        Source {
            again,
            named,
            patience: patience(),
        }
    }

    fn patience() -> Patience<'static> {
        Patience {
            timeout: Duration::from_millis(1),
            interrupted: &|| false,
        }
    }

    /// The property everything rests on, checked on this machine's file system: a mapping keeps the
    /// lock although its descriptor is closed, and gives it back when it goes.
    #[test]
    fn a_pin_locks_its_inode_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let dir = RealFs.open_dir(dir.path(), false).unwrap();
        let file = dir.open("f", Open::Create).unwrap();
        write_all_at(&*file, &[1; 100], 0).unwrap();
        drop(file);
        let again = || dir.open("f", Open::Read);
        let named = || dir.stat("f");
        let pins = Pins::default();
        let pin = pins
            .pin(again().unwrap(), 50, &source(&again, &named))
            .unwrap();
        let writer = dir.open("f", Open::Write).unwrap();
        assert!(!writer.try_lock(Lock::Exclusive).unwrap(), "pinned");
        assert_eq!(pin.bytes(), [1; 50]);
        drop(pin);
        assert!(writer.try_lock(Lock::Exclusive).unwrap(), "free again");
        let refused = pins.pin(again().unwrap(), 50, &source(&again, &named));
        assert!(matches!(refused, Err(PinError::Busy)));
    }

    /// In the in-memory file system a copy holds no lock, as on overlayfs: the pin keeps its file.
    #[test]
    fn without_locks_by_mapping_the_file_stays_open() {
        let dir = MemoryFs::default()
            .open_dir(std::path::Path::new("d"), true)
            .unwrap();
        write_all_at(&*dir.open("f", Open::Create).unwrap(), &[1; 100], 0).unwrap();
        let again = || dir.open("f", Open::Read);
        let named = || dir.stat("f");
        let pins = Pins::default();
        let pin = pins
            .pin(again().unwrap(), 50, &source(&again, &named))
            .unwrap();
        assert_eq!(pins.mapping_locks.get(), Some(&false));
        assert!(!again().unwrap().try_lock(Lock::Exclusive).unwrap());
        drop(pin);
        assert!(again().unwrap().try_lock(Lock::Exclusive).unwrap());
    }

    #[test]
    fn a_file_that_lost_its_name_is_not_pinned() {
        let dir = MemoryFs::default()
            .open_dir(std::path::Path::new("d"), true)
            .unwrap();
        write_all_at(&*dir.open("f", Open::Create).unwrap(), &[1; 100], 0).unwrap();
        let again = || dir.open("f", Open::Read);
        let named = || dir.stat("f");
        let opened = again().unwrap();
        dir.rename("f", "g").unwrap();
        write_all_at(&*dir.open("f", Open::Create).unwrap(), &[2; 100], 0).unwrap();
        let pinned = Pins::default().pin(opened, 50, &source(&again, &named));
        assert!(matches!(pinned, Err(PinError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound));
    }

    #[test]
    fn recent_pins_stay_and_can_be_released() {
        let dir = MemoryFs::default()
            .open_dir(std::path::Path::new("d"), true)
            .unwrap();
        write_all_at(&*dir.open("f", Open::Create).unwrap(), &[1; 100], 0).unwrap();
        let again = || dir.open("f", Open::Read);
        let named = || dir.stat("f");
        let pins = Pins::default();
        let key = PinKey {
            file: "f".to_owned(),
            generation: 1,
        };
        let pin = Arc::new(
            pins.pin(again().unwrap(), 50, &source(&again, &named))
                .unwrap(),
        );
        pins.keep(key.clone(), &pin);
        drop(pin);
        assert!(pins.find(&key, 50).is_some());
        assert!(
            pins.find(&key, 51).is_none(),
            "never for more bytes than were mapped"
        );
        pins.release_idle();
        assert!(pins.find(&key, 50).is_none());
    }
}
