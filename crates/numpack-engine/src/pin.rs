//! Pins: a mapping of one generation of one array, whose inode is locked (shared) as long as the
//! mapping is in use, so that nobody who plays by the rules changes a byte under it.
//!
//! On Linux the kernel keeps a `flock` as long as a mapping made through its descriptor exists, so a
//! pin needs no descriptor. Where that does not hold (overlayfs maps another file than the one it
//! locks) a pin keeps its descriptor open; which it is, is found out once for each store.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::fs::{File, Lock};
use crate::mapping::{Mapping, PrivateMapping};
use crate::options::{Interrupt, Options};
use crate::overlay::Overlay;
use crate::pins::{Held, Idle, PinKey, Pins};
use crate::written::{Known, Origin};

/// A mapped, locked file, or such a one with pending rows in their places.
#[derive(Debug)]
pub(crate) struct Pin {
    /// None only while it is dropped.
    mapping: Option<Mapping>,
    ground: Ground,
}

/// What keeps the bytes of a pin as they are.
#[derive(Debug)]
enum Ground {
    Locked(Locked),
    /// Pages of this pin, but for those with pending rows, up to this record if all are committed.
    Over(Arc<Pin>, Option<u64>),
    /// Memory of its own.
    Nothing,
}

/// A shared lock.
#[derive(Debug)]
struct Locked {
    key: PinKey,
    ino: u64,
    /// Open where the mapping alone does not hold the lock, or for another map to be made or the lock
    /// to be given back without closing.
    file: Option<Arc<dyn File>>,
    /// [`crate::fork::count`] when the lock was taken, or kept by a map at rest that was woken then.
    forks: u64,
    /// If it rested before, [`Pins::foreign`] when it was woken.
    woken: Option<u64>,
    /// The latest map with pending rows, and the record up to which it has them.
    patched: Mutex<Option<(u64, Mapping)>>,
    home: Weak<Pins>,
}

impl Pin {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.mapping.as_ref().map_or(&[], Mapping::as_ref)
    }

    /// A pin on a file that is locked.
    pub(crate) fn locked(
        idle: Idle,
        keep_file: bool,
        woken: Option<u64>,
        home: &Arc<Pins>,
    ) -> Self {
        Self {
            mapping: Some(idle.mapping),
            ground: Ground::Locked(Locked {
                key: idle.key,
                ino: idle.ino,
                file: keep_file.then_some(idle.file),
                forks: crate::fork::count(),
                woken,
                patched: Mutex::new(idle.patched),
                home: Arc::downgrade(home),
            }),
        }
    }

    fn follows_file(&self) -> bool {
        self.mapping.as_ref().is_some_and(Mapping::follows_file)
    }

    /// The inode that is pinned.
    pub(crate) fn ino(&self) -> Option<u64> {
        match &self.ground {
            Ground::Locked(locked) => Some(locked.ino),
            Ground::Over(..) | Ground::Nothing => None,
        }
    }

    fn file(&self) -> Option<&Arc<dyn File>> {
        match &self.ground {
            Ground::Locked(locked) => locked.file.as_ref(),
            Ground::Over(..) | Ground::Nothing => None,
        }
    }

    /// `base` with the rows of `overlay` in their places, in `len` bytes. `again` opens the same inode
    /// where `base` has no descriptor; without it the bytes are copied.
    ///
    /// Rows that are not `committed` may never be, and others may get the numbers of their records: then
    /// the map is of use for nobody else.
    pub(crate) fn patched(
        base: &Arc<Self>,
        len: usize,
        overlay: &Overlay,
        committed: bool,
        again: impl FnOnce() -> Option<Arc<dyn File>>,
    ) -> std::io::Result<Self> {
        let lsn = overlay.lsn();
        let upto = committed.then_some(lsn);
        // A map that rested may have missed rows that were folded meanwhile: the file has them, and the
        // pages that the map has of its own do not.
        let usable = |at: u64, mapping: &Mapping| {
            at <= lsn && overlay.reaches_back_to(at) && mapping.as_ref().len() == len
        };
        if let Ground::Locked(locked) = &base.ground
            && committed
            && let Some((at, mapping)) = locked
                .patched
                .lock()
                .take_if(|(at, mapping)| usable(*at, mapping))
        {
            let mut mapping = mapping;
            // One that cannot be written to is made anew below.
            if at == lsn || mapping.overwrite(&overlay.pieces_since(at)).is_ok() {
                return Ok(Self {
                    mapping: Some(mapping),
                    ground: Ground::Over(Arc::clone(base), upto),
                });
            }
        }
        let (mut private, ground) = match base.file().map(Arc::clone).or_else(again) {
            Some(file) => (file.map_private(len)?, Ground::Over(Arc::clone(base), upto)),
            None => (
                PrivateMapping::of_memory(&base.bytes()[..len])?,
                Ground::Nothing,
            ),
        };
        overlay.patch(0..u64::MAX, private.as_mut());
        Ok(Self {
            mapping: Some(private.into_read_only()?),
            ground,
        })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let Some(mapping) = self.mapping.take() else {
            return;
        };
        // A copy would not show what is folded into the file while nobody holds it locked.
        let lasts = mapping.follows_file();
        match &mut self.ground {
            // The next one who asks for the same rows need not patch again.
            Ground::Over(base, upto) => {
                if let (Ground::Locked(locked), Some(lsn)) = (&base.ground, *upto)
                    && base.follows_file()
                {
                    let _older = locked.patched.lock().replace((lsn, mapping));
                }
            }
            Ground::Locked(locked) => {
                let Some((home, file)) = locked.home.upgrade().zip(locked.file.take()) else {
                    return;
                };
                home.gave_up_file();
                // A child may hold a view that rests on the same lock: then it goes when both are done.
                if !lasts || locked.forks != crate::fork::count() {
                    return;
                }
                // What was used before will be used again.
                let hold = locked.woken.is_some_and(|then| home.may_hold(then));
                if hold || file.unlock().is_ok() {
                    home.rest(Idle {
                        key: locked.key.clone(),
                        ino: locked.ino,
                        mapping,
                        patched: locked.patched.lock().take(),
                        file,
                        held: hold.then(Held::now),
                    });
                }
            }
            Ground::Nothing => {}
        }
    }
}

/// Writable private memory over a pinned file.
#[derive(Debug)]
pub(crate) struct PrivatePin {
    _known: Option<Known>,
    pub(crate) mapping: PrivateMapping,
    _base: Arc<Pin>,
}

impl PrivatePin {
    /// The first `len` bytes of `base` with the rows of `overlay`, as memory of its own; None when the
    /// file is not to be had again.
    pub(crate) fn new(
        base: &Arc<Pin>,
        len: usize,
        overlay: &Overlay,
        again: impl FnOnce() -> Option<Arc<dyn File>>,
    ) -> std::io::Result<Option<Self>> {
        let Some(file) = base.file().map(Arc::clone).or_else(again) else {
            return Ok(None);
        };
        let mut mapping = file.map_private(len)?;
        overlay.patch(0..u64::MAX, mapping.as_mut());
        let origin = match &base.ground {
            Ground::Locked(locked) => Some(Origin {
                generation: locked.key.generation,
                patched: overlay.lsn(),
            }),
            Ground::Over(..) | Ground::Nothing => None,
        };
        Ok(Some(Self {
            _known: origin.and_then(|origin| Known::new(mapping.as_ref(), origin)),
            mapping,
            _base: Arc::clone(base),
        }))
    }
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
    pub(crate) interrupt: Option<&'a Interrupt>,
}

impl<'a> Patience<'a> {
    /// As a handle's options say.
    pub(crate) fn of(options: &'a Options) -> Self {
        Self {
            timeout: options.lock_timeout,
            interrupt: options.interrupt.as_ref(),
        }
    }

    /// Not at all.
    pub(crate) const NONE: Self = Self {
        timeout: Duration::ZERO,
        interrupt: None,
    };
}

/// Waits for the shared lock of `file`, which only a writer that folds rows into the file, or that
/// takes over one that nobody needs, holds against it.
pub(crate) fn wait_shared(file: &dyn File, patience: Patience<'_>) -> Result<(), PinError> {
    let start = std::time::Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        match file.try_lock(Lock::Shared) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // No advisory locks on this file system: then no writer gets an exclusive one, and no
            // file is changed in place.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
            Err(error) => return Err(PinError::Io(error)),
        }
        if patience.interrupt.is_some_and(|ask| ask()) {
            return Err(PinError::Interrupted);
        }
        if start.elapsed() >= patience.timeout {
            return Err(PinError::Busy);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}
