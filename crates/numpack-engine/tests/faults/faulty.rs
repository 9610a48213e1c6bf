//! A file system in which one call, or every call from one on, fails, or something happens elsewhere before
//! one.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use numpack_engine::fs::{Dir, File, Fs, Lock, Open, Stat};
use numpack_engine::{Mapping, PrivateMapping};
use parking_lot::Mutex;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Open,
    Read,
    Write,
    SetLen,
    Stat,
    Lock,
    Unlock,
    Map,
    Names,
    List,
    Sync,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The medium fails: any call.
    Eio,
    /// The medium takes nothing more: calls that wait for it.
    Flush,
    /// The disk is full: calls that need room.
    Enospc,
    /// The process has too many files open.
    Emfile,
    /// A signal came: the call is to be made again.
    Eintr,
    /// Fewer bytes are read or written than were asked for.
    Short,
}

impl Fault {
    fn befalls(self, call: Call) -> bool {
        match self {
            Self::Eio => true,
            Self::Flush => call == Call::Sync,
            Self::Enospc => matches!(call, Call::Open | Call::Write | Call::SetLen | Call::Names),
            Self::Emfile => matches!(call, Call::Open | Call::List),
            Self::Eintr | Self::Short => matches!(call, Call::Read | Call::Write),
        }
    }

    /// Whether the caller must not notice.
    pub fn is_invisible(self) -> bool {
        matches!(self, Self::Eintr | Self::Short)
    }

    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Eio | Self::Flush | Self::Short => libc::EIO,
            Self::Enospc => libc::ENOSPC,
            Self::Emfile => libc::EMFILE,
            Self::Eintr => libc::EINTR,
        })
    }
}

/// When it goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub fault: Fault,
    /// Calls that the fault may befall before it does.
    pub after: usize,
    /// Whether all later calls of the kind fail, too.
    pub lasting: bool,
}

/// What happens elsewhere.
type Event = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Trigger {
    plan: Option<Plan>,
    calls: usize,
    hit: Vec<Call>,
    /// Before which of the calls to come it happens.
    event: Option<(usize, Event)>,
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trigger")
    }
}

impl Trigger {
    /// What happens before this call.
    fn event_now(&mut self) -> Option<Event> {
        let (left, event) = self.event.take()?;
        if left == 0 {
            return Some(event);
        }
        self.event = Some((left - 1, event));
        None
    }
}

/// Whether the call goes wrong.
fn trigger(state: &Mutex<Trigger>, call: Call) -> Option<Fault> {
    let event = state.lock().event_now();
    if let Some(event) = event {
        event();
    }
    let mut state = state.lock();
    let plan = state.plan?;
    if !plan.fault.befalls(call) {
        return None;
    }
    let turn = state.calls;
    state.calls += 1;
    let hits = turn == plan.after || plan.lasting && turn > plan.after;
    hits.then(|| {
        state.hit.push(call);
        plan.fault
    })
}

/// Another file system, in which calls fail by plan, as one process has it open: the engine tells by a
/// directory's id that two handles are of one process.
#[derive(Clone, Debug)]
pub struct FaultyFs {
    inner: Arc<dyn Fs>,
    process: u64,
    trigger: Arc<Mutex<Trigger>>,
}

impl FaultyFs {
    pub fn new(inner: Arc<dyn Fs>) -> Self {
        static PROCESSES: AtomicU64 = AtomicU64::new(1);
        Self {
            inner,
            process: PROCESSES.fetch_add(1, Ordering::Relaxed),
            trigger: Arc::default(),
        }
    }

    /// From now on calls fail by `plan`.
    pub fn arm(&self, plan: Plan) {
        *self.trigger.lock() = Trigger {
            plan: Some(plan),
            ..Trigger::default()
        };
    }

    /// Has `event` happen before call number `after` from now.
    pub fn interleave(&self, after: usize, event: impl FnOnce() + Send + 'static) {
        self.trigger.lock().event = Some((after, Box::new(event)));
    }

    /// From now on all is well; gives the calls that failed.
    pub fn disarm(&self) -> Vec<Call> {
        std::mem::take(&mut *self.trigger.lock()).hit
    }
}

impl Fs for FaultyFs {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Dir>> {
        let inner = self.inner.open_dir(path, create)?;
        let dir = FaultyDir {
            inner,
            process: self.process,
            trigger: Arc::clone(&self.trigger),
        };
        dir.pass(Call::Open)?;
        Ok(Arc::new(dir))
    }
}

#[derive(Debug)]
struct FaultyDir {
    inner: Arc<dyn Dir>,
    process: u64,
    trigger: Arc<Mutex<Trigger>>,
}

impl FaultyDir {
    fn pass(&self, call: Call) -> io::Result<()> {
        match trigger(&self.trigger, call) {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }
}

impl Dir for FaultyDir {
    fn id(&self) -> (u64, u64) {
        let (device, number) = self.inner.id();
        (device ^ self.process << 32, number)
    }

    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        self.pass(Call::Open)?;
        Ok(Arc::new(FaultyFile {
            inner: self.inner.open(name, how)?,
            trigger: Arc::clone(&self.trigger),
        }))
    }

    fn stat(&self, name: &str) -> io::Result<Stat> {
        self.pass(Call::Stat)?;
        self.inner.stat(name)
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.pass(Call::Names)?;
        self.inner.make_dir(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.pass(Call::Names)?;
        self.inner.rename(from, to)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.pass(Call::Names)?;
        self.inner.rename_new(from, to)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.pass(Call::Names)?;
        self.inner.link(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.pass(Call::Names)?;
        self.inner.unlink(name)
    }

    fn list(&self, sub: &str) -> io::Result<Vec<String>> {
        self.pass(Call::List)?;
        self.inner.list(sub)
    }

    fn sync(&self, sub: &str) -> io::Result<()> {
        self.pass(Call::Sync)?;
        self.inner.sync(sub)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.pass(Call::Sync)?;
        self.inner.sync_all()
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn File>,
    trigger: Arc<Mutex<Trigger>>,
}

impl FaultyFile {
    fn pass(&self, call: Call) -> io::Result<()> {
        match trigger(&self.trigger, call) {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match trigger(&self.trigger, Call::Read) {
            Some(Fault::Short) => {
                let half = buf.len().div_ceil(2);
                self.inner.read_at(&mut buf[..half], offset)
            }
            Some(fault) => Err(fault.error()),
            None => self.inner.read_at(buf, offset),
        }
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let fault = trigger(&self.trigger, Call::Write);
        if fault.is_none() {
            return self.inner.write_at(bufs, offset);
        }
        // Whatever goes wrong, a part may have been written.
        let half = match bufs {
            [one] => &one[..one.len().div_ceil(2)],
            _ => bufs.first().map_or(&[][..], |first| first),
        };
        match fault {
            Some(Fault::Short) => self.inner.write_at(&[IoSlice::new(half)], offset),
            Some(Fault::Eintr) => Err(Fault::Eintr.error()),
            Some(fault) => {
                // What fits into a sector and has at most 128 bytes is written whole or not at all.
                let len: usize = bufs.iter().map(|buf| buf.len()).sum();
                let torn = len > 128 || offset / 512 != (offset + len as u64 - 1) / 512;
                if torn {
                    self.inner.write_at(&[IoSlice::new(half)], offset)?;
                }
                Err(fault.error())
            }
            None => Ok(0),
        }
    }

    fn stat(&self) -> io::Result<Stat> {
        self.pass(Call::Stat)?;
        self.inner.stat()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pass(Call::SetLen)?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pass(Call::Sync)?;
        self.inner.sync_data()
    }

    fn begin_sync(&self, bytes: Range<u64>) -> io::Result<()> {
        self.pass(Call::Sync)?;
        self.inner.begin_sync(bytes)
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        self.pass(Call::Lock)?;
        self.inner.try_lock(lock)
    }

    fn unlock(&self) -> io::Result<()> {
        self.pass(Call::Unlock)?;
        self.inner.unlock()
    }

    fn map(&self, len: usize) -> io::Result<Mapping> {
        self.pass(Call::Map)?;
        self.inner.map(len)
    }

    fn map_private(&self, len: usize) -> io::Result<PrivateMapping> {
        self.pass(Call::Map)?;
        self.inner.map_private(len)
    }
}
