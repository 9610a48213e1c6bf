//! The storage engine: stores, snapshots, selections and transactions.
//!
//! A store is a directory of arrays. Reading goes through a [`Snapshot`], which never changes;
//! every change is a [`Transaction`], which appears as a whole or not at all, in this process and in
//! all others. The protocol that makes it so is written down in `docs/durability.md`, why the views
//! are sound in `docs/zero-copy.md`.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use numpack_engine::{Options, Selection, Store};
//! use numpack_format::{ArrayMeta, DType};
//!
//! let store = Store::open(&dir.path().join("train.npk"), &Options::default())?;
//! let meta = ArrayMeta::new(DType::UInt8, &[4])?;
//! let mut save = store.begin()?;
//! save.put("label", &meta, &mut &[0, 1, 2, 3][..])?;
//! save.commit()?;
//!
//! let before = store.array("label")?;
//! let one = ArrayMeta::new(DType::UInt8, &[1])?;
//! let mut replace = store.begin()?;
//! replace.replace("label", Selection::Row(0), &one, &[9])?;
//! replace.commit()?;
//! assert_eq!(&*before.contiguous()?, [0, 1, 2, 3]);
//! assert_eq!(&*store.array("label")?.contiguous()?, [9, 1, 2, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acquire;
mod attrs;
mod backup;
mod backup_sums;
mod batches;
mod bits;
mod checkpoint;
mod closing;
mod commit;
mod copy;
mod deep;
mod deletions;
mod desk;
mod directory;
mod dump;
mod error;
mod fold;
mod fork;
pub mod fs;
mod index;
mod journal;
mod load;
mod lock;
mod locked;
mod lost;
mod mapping;
mod memory;
mod network;
mod options;
mod overlay;
mod paths;
mod pin;
mod pins;
mod place;
mod plan;
mod read;
mod reaper;
mod recovery;
mod registry;
mod rename;
mod repair;
mod replace;
mod report;
mod rewrite;
mod selection;
mod settle;
mod shared;
mod snapshot;
mod staging;
mod state;
mod stats;
mod store;
mod sums;
mod transaction;
mod tree;
mod verify;
mod view;
mod writer;
mod written;

pub use batches::Batches;
pub use deletions::Run;
pub use directory::{directories_in, stores_in};
pub use dump::{JournalDump, dump_journal};
pub use error::{Error, Result};
pub use fork::generation as fork_generation;
pub use locked::Locked;
pub use mapping::{Mapping, PrivateMapping};
pub use memory::OwnedBuffer;
pub use options::{Durability, Interrupt, Limits, Mode, Options};
pub use repair::repair;
pub use report::{Damage, Problem, Report, Unchecked};
pub use selection::{RowSet, Selection};
pub use snapshot::{ArraySnapshot, RowsIdentity, Snapshot};
pub use staging::RowSource;
pub use stats::{Pending, Stats};
pub use store::{ArrayInfo, Store};
pub use transaction::Transaction;
pub use view::{PrivateMap, View};

const _: () = assert!(
    size_of::<usize>() == 8,
    "arrays are mapped whole: 64-bit only"
);
