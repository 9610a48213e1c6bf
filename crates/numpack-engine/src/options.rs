//! How a store is opened.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;

/// What a handle may do, and what must be at the path when it opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `a`: read and write; the store is made when it is missing.
    #[default]
    Append,
    /// `r`: read an existing store and never write a byte.
    Read,
    /// `r+`: read and write an existing store.
    ReadWrite,
    /// `w`: read and write; an existing store is emptied.
    Write,
    /// `x`: read and write a new store; an existing one is an error.
    Exclusive,
}

impl Mode {
    /// Whether this mode may change the store.
    pub fn is_writable(self) -> bool {
        self != Self::Read
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append => "a",
            Self::Read => "r",
            Self::ReadWrite => "r+",
            Self::Write => "w",
            Self::Exclusive => "x",
        })
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Ok(match s {
            "a" => Self::Append,
            "r" => Self::Read,
            "r+" => Self::ReadWrite,
            "w" => Self::Write,
            "x" => Self::Exclusive,
            _ => {
                return Err(Error::InvalidArgument(format!(
                    "mode \"{s}\" is not one of \"a\", \"r\", \"r+\", \"w\", \"x\""
                )));
            }
        })
    }
}

/// What a call that returned is safe from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Safe from the death of the process; a power cut may tear what came after the last sync.
    None,
    /// Safe from the death of the process; a power cut falls back to a consistent earlier state.
    #[default]
    Commit,
    /// On disk when the call returns.
    Full,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Commit => "commit",
            Self::Full => "full",
        })
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Ok(match s {
            "none" => Self::None,
            "commit" => Self::Commit,
            "full" => Self::Full,
            _ => {
                return Err(Error::InvalidArgument(format!(
                    "durability \"{s}\" is not one of \"none\", \"commit\", \"full\""
                )));
            }
        })
    }
}

/// Asked now and then while a call waits for a lock; `true` makes it give up with
/// [`Error::Interrupted`].
pub type Interrupt = Arc<dyn Fn() -> bool + Send + Sync>;

/// How to open a store. Start from [`Options::default`] and change what differs.
///
/// ```
/// use numpack_engine::{Durability, Mode, Options};
/// let options = Options::default().with_mode(Mode::Read).with_durability(Durability::Full);
/// assert_eq!(options.mode.to_string(), "r");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// What the handle may do.
    pub mode: Mode,
    /// What a returned call is safe from.
    pub durability: Durability,
    /// How long a call waits for the writer lock.
    pub lock_timeout: Duration,
    /// Asked while waiting.
    pub interrupt: Option<Interrupt>,
    /// When the store tidies up by itself.
    pub limits: Limits,
    /// Whether a store on a network file system may be written to. Nothing is promised there: see
    /// `docs/durability.md`.
    pub network: bool,
}

/// From which sizes on a store does by itself what [`Store::checkpoint`](crate::Store::checkpoint) does,
/// or a part of it. The defaults suit nearly everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of journal from which on a commit makes a checkpoint first.
    pub journal: u64,
    /// Pages of 4 KiB of one array in which replaced rows lie that its file does not have, from which on
    /// they are written there: every view has so many pages of its own.
    pub pages: u64,
    /// Bytes of arrays that a checkpoint copies because somebody has them mapped; what is more stays in
    /// the journal.
    pub copied: u64,
    /// Bytes of an array from which on its file, when it is replaced before it was on disk, is kept for
    /// another array to be written to: its pages need not be found and cleared by the kernel again.
    pub spare: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            journal: 64 << 20,
            pages: 16 << 10,
            copied: 64 << 20,
            spare: 64 << 10,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            durability: Durability::default(),
            lock_timeout: Duration::from_secs(30),
            interrupt: None,
            limits: Limits::default(),
            network: false,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("mode", &self.mode)
            .field("durability", &self.durability)
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The same with another mode.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The same with another durability.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The same with another timeout for the writer lock.
    #[must_use]
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same, allowed (or not) to write to a store on a network file system.
    #[must_use]
    pub fn with_network(mut self, allowed: bool) -> Self {
        self.network = allowed;
        self
    }

    /// The same with a function that can interrupt a wait.
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = Some(interrupt);
        self
    }

    /// The same for what nobody asked for: it waits for nobody, and takes no signal that is meant for the caller.
    pub(crate) fn unasked(&self) -> Self {
        let mut options = self.clone().with_lock_timeout(Duration::ZERO);
        options.interrupt = None;
        options
    }
}
