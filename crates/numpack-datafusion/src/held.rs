use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a mutex guards, also after a thread has panicked while it held it: nothing here is left half
/// changed by that.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
