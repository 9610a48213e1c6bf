//! Where the writer's tools lie: on the desk, in the hand of one commit, or on the desk of a thread
//! that keeps the writer lock over several commits.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::fs::File;
use crate::writer::Writer;

/// The writer's tools of one store and process, for one thread at a time.
#[derive(Debug)]
pub(crate) struct Desk {
    seat: Mutex<Seat>,
    /// Tells those who wait that the tools are back, or that their keeper has gone.
    back: Condvar,
}

#[derive(Debug)]
struct Seat {
    /// None while a commit has them in its hand.
    tools: Option<Writer>,
    keeper: Option<Keeper>,
}

/// The thread that keeps the writer lock between its commits.
#[derive(Debug)]
struct Keeper {
    thread: ThreadId,
    /// How many times it asked to.
    depth: usize,
    lock: Arc<dyn File>,
}

impl Default for Desk {
    fn default() -> Self {
        let seat = Seat {
            tools: Some(Writer::default()),
            keeper: None,
        };
        Self {
            seat: Mutex::new(seat),
            back: Condvar::new(),
        }
    }
}

fn this_thread() -> ThreadId {
    std::thread::current().id()
}

impl Seat {
    fn is_taken(&self) -> bool {
        self.tools.is_none()
            || (self.keeper.as_ref()).is_some_and(|keeper| keeper.thread != this_thread())
    }
}

impl Desk {
    /// The tools, if they are to be had within `patience`.
    pub(crate) fn take(&self, patience: Duration) -> Option<Hand<'_>> {
        let mut seat = self.seat.lock();
        self.back
            .wait_while_for(&mut seat, |seat| seat.is_taken(), patience);
        if seat.is_taken() {
            return None;
        }
        let lent = seat.keeper.as_ref().map(|keeper| Arc::clone(&keeper.lock));
        Some(Hand {
            desk: self,
            tools: seat.tools.take()?,
            lent,
        })
    }

    /// Whether this thread keeps the lock; then it does so once more.
    pub(crate) fn keep_again(&self) -> bool {
        match &mut self.seat.lock().keeper {
            Some(keeper) if keeper.thread == this_thread() => {
                keeper.depth += 1;
                true
            }
            _ => false,
        }
    }

    /// Whether this thread keeps the lock.
    pub(crate) fn is_kept_here(&self) -> bool {
        let seat = self.seat.lock();
        (seat.keeper.as_ref()).is_some_and(|keeper| keeper.thread == this_thread())
    }

    /// Gives up the lock that was kept, on any thread, when it was asked for as often as it was kept.
    pub(crate) fn give_up(&self) {
        let mut seat = self.seat.lock();
        let last = seat.keeper.as_mut().is_some_and(|keeper| {
            keeper.depth -= 1;
            keeper.depth == 0
        });
        if !last {
            return;
        }
        // Not from under a commit of the thread that kept it.
        self.back.wait_while(&mut seat, |seat| seat.tools.is_none());
        self.unlock(&mut seat);
    }

    fn unlock(&self, seat: &mut MutexGuard<'_, Seat>) {
        let unlocked = seat.keeper.take().map(|keeper| keeper.lock.unlock());
        // When this fails the lock still goes with the descriptor.
        if let (Some(Err(_)), Some(tools)) = (unlocked, &mut seat.tools) {
            tools.lock = None;
        }
        self.back.notify_all();
    }
}

/// The writer's tools in use; they go back to the desk when this is dropped.
#[derive(Debug)]
pub(crate) struct Hand<'a> {
    desk: &'a Desk,
    tools: Writer,
    /// The locked file, if this thread keeps the lock beyond this hand.
    lent: Option<Arc<dyn File>>,
}

impl Hand<'_> {
    /// The locked file, if this thread keeps the lock beyond this hand.
    pub(crate) fn lent(&self) -> Option<&Arc<dyn File>> {
        self.lent.as_ref()
    }

    /// Keeps `lock`, which this hand has taken, until [`Desk::give_up`].
    pub(crate) fn keep(&mut self, lock: &Arc<dyn File>) {
        self.desk.seat.lock().keeper = Some(Keeper {
            thread: this_thread(),
            depth: 1,
            lock: Arc::clone(lock),
        });
        self.lent = Some(Arc::clone(lock));
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        let mut seat = self.desk.seat.lock();
        seat.tools = Some(std::mem::take(&mut self.tools));
        drop(seat);
        self.desk.back.notify_all();
    }
}

impl Deref for Hand<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.tools
    }
}

impl DerefMut for Hand<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.tools
    }
}
