//! Gives back the locks of maps that rest, a moment after their last use.
//!
//! A thread, since a process that does nothing more has nobody else to do it. It comes with the first lock
//! that is kept and goes with the last.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::pins::Pins;

/// A lock is kept so long after the last use, and at most twice as long.
const MOMENT: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Watch {
    pins: Vec<Weak<Pins>>,
    /// [`crate::fork::generation`] of the process in which the thread runs.
    process: Option<u64>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch {
    pins: Vec::new(),
    process: None,
});

/// Sees to it that the locks that `pins` keeps are given back; false if nobody will.
pub(crate) fn watch(pins: &Arc<Pins>) -> bool {
    // In a child forked while another thread was in here it is never unlocked; no lock is kept then.
    let Some(mut watch) = WATCH.try_lock() else {
        return false;
    };
    let process = crate::fork::generation();
    if watch.process != Some(process) {
        watch.pins.clear();
        let thread = std::thread::Builder::new().name("numpack-locks".to_owned());
        if thread.spawn(run).is_err() {
            return false;
        }
        watch.process = Some(process);
    }
    // One whose locks were given back early may still be in the list.
    if !(watch.pins.iter()).any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(pins))) {
        watch.pins.push(Arc::downgrade(pins));
    }
    true
}

fn run() {
    loop {
        std::thread::sleep(MOMENT);
        let done = crate::fork::unless_forking(|| {
            let mut watch = WATCH.lock();
            let keeps = |pins: &Weak<Pins>| pins.upgrade().is_some_and(|pins| pins.give_back_old());
            watch.pins.retain(keeps);
            let done = watch.pins.is_empty();
            if done {
                watch.process = None;
            }
            done
        });
        if done == Some(true) {
            return;
        }
    }
}
