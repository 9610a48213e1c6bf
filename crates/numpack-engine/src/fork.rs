//! What a fork leaves to the child.
//!
//! A forked child inherits open descriptors, mappings and locked mutexes. Its mappings stay good (the
//! kernel shares the lock with the child's copy), everything else must be opened anew: code that keeps
//! such state remembers [`generation`] and starts over when the number has moved.
//!
//! Locks belong to open file descriptions, which parent and child share. Unlocking by hand therefore
//! takes a lock from both: who unlocks what a view may rest on looks at [`count`] first. The writer
//! lock, on the other hand, must not outlive a killed parent in a child that knows nothing of it, so
//! the child's descriptor of it is pointed elsewhere, see [`Private`].
#![expect(unsafe_code, reason = "pthread_atfork and dup2 have no safe form")]

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Once};

use crate::fs::File;

static GENERATION: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
static HOOK: Once = Once::new();

/// Descriptors that a child gives up; -1 for a free place.
static PRIVATE: [AtomicI32; 256] = [const { AtomicI32::new(-1) }; 256];
/// A descriptor of no file to put in their places; -1 if there is none.
static NOWHERE: AtomicI32 = AtomicI32::new(-1);

/// Threads that fork just now.
static FORKING: AtomicU64 = AtomicU64::new(0);
/// Threads of our own at work that no child may be forked from.
static AT_WORK: AtomicU64 = AtomicU64::new(0);

/// Does `work` while no thread forks, lest a child inherits the locks that it takes; None if one does just
/// now. For threads of our own.
pub(crate) fn unless_forking<T>(work: impl FnOnce() -> T) -> Option<T> {
    struct Work;
    impl Drop for Work {
        fn drop(&mut self) {
            AT_WORK.fetch_sub(1, Ordering::SeqCst);
        }
    }
    hook();
    AT_WORK.fetch_add(1, Ordering::SeqCst);
    let _at_work = Work;
    (FORKING.load(Ordering::SeqCst) == 0).then(work)
}

extern "C" fn before() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    while AT_WORK.load(Ordering::SeqCst) > 0 {
        std::thread::yield_now();
    }
}

extern "C" fn in_parent() {
    COUNT.fetch_add(1, Ordering::Relaxed);
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

extern "C" fn in_child() {
    // The parent's threads may just have been asking; the child has no such threads.
    AT_WORK.store(0, Ordering::SeqCst);
    FORKING.store(0, Ordering::SeqCst);
    GENERATION.fetch_add(1, Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Relaxed);
    let nowhere = NOWHERE.load(Ordering::Relaxed);
    if nowhere < 0 {
        return;
    }
    for place in &PRIVATE {
        let fd = place.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: `fd` is open, for its owner takes it out of the table before closing it, and
            // dup2 is safe in the child of a threaded process. The number stays open, so that
            // whoever owns it can still close it once.
            unsafe {
                libc::dup2(nowhere, fd);
            }
        }
    }
}

fn hook() {
    HOOK.call_once(|| {
        if let Ok(file) = std::fs::File::open("/dev/null") {
            NOWHERE.store(std::os::fd::IntoRawFd::into_raw_fd(file), Ordering::Relaxed);
        }
        // SAFETY: these are plain functions that touch atomics and call dup2, which POSIX allows in
        // the child of a threaded process; they are never unregistered and live as long as the code.
        unsafe {
            libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child));
        }
    });
}

/// A number that differs between a process and its forked children.
pub fn generation() -> u64 {
    hook();
    GENERATION.load(Ordering::Relaxed)
}

/// A number that changes in parent and child with every fork.
pub(crate) fn count() -> u64 {
    hook();
    COUNT.load(Ordering::Relaxed)
}

/// A file whose description forked children do not share: their descriptors of it lead nowhere.
#[derive(Debug)]
pub(crate) struct Private {
    pub(crate) file: Arc<dyn File>,
    place: Option<(&'static AtomicI32, RawFd)>,
}

impl Private {
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        hook();
        let place = file.descriptor().map(AsRawFd::as_raw_fd).and_then(|fd| {
            let take = |place: &&'static AtomicI32| {
                place
                    .compare_exchange(-1, fd, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            };
            // A full table only means that a child of a killed writer keeps its lock as long as it lives.
            PRIVATE.iter().find(take).map(|place| (place, fd))
        });
        Self { file, place }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Some((place, fd)) = self.place {
            // In a child the place is free already, or another's.
            let _gone = place.compare_exchange(fd, -1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Fs as _, Open, RealFs};

    #[test]
    fn is_stable_without_a_fork() {
        assert_eq!(generation(), generation());
        assert_eq!(count(), count());
    }

    #[test]
    fn places_are_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = RealFs.open_dir(dir.path(), false).unwrap();
        for i in 0..2 * PRIVATE.len() {
            let file = dir.open("f", Open::Create).unwrap();
            let private = Private::new(file);
            assert!(private.place.is_some(), "file {i}");
        }
    }
}
