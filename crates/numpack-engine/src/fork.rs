//! Counts the forks that this process descends from.
//!
//! A forked child inherits open descriptors, mappings and locked mutexes. Its mappings stay good
//! (the kernel shares the lock with the child's copy), everything else must be opened anew: code
//! that keeps such state remembers [`generation`] and starts over when the number has moved.
#![expect(unsafe_code, reason = "pthread_atfork has no safe form")]

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(0);
static HOOK: Once = Once::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// A number that differs between a process and its forked children.
pub fn generation() -> u64 {
    HOOK.call_once(|| {
        // SAFETY: `in_child` is a plain function that touches one atomic, which POSIX allows in
        // the child of a threaded process; it is never unregistered and lives as long as the code.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    });
    GENERATION.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_stable_without_a_fork() {
        assert_eq!(super::generation(), super::generation());
    }
}
