//! Files of other programs into stores and back: npy, npz, csv, Parquet and Arrow IPC.
//!
//! Both ways stream: memory is bounded by a batch of rows, not by the file. Both are all or nothing:
//! [`import`] is one transaction, [`export`] writes a temporary file beside the target and renames
//! it.
//!
//! ```
//! use numpack::{ArrayMeta, DType, Options, Store};
//! use numpack_convert::{ExportOptions, ImportOptions, export, import};
//!
//! # let dir = tempfile::tempdir()?;
//! let store = Store::open(&dir.path().join("s.npk"), &Options::default())?;
//! let mut save = store.begin()?;
//! save.put("a", &ArrayMeta::new(DType::UInt8, &[3])?, &mut &[1, 2, 3][..])?;
//! save.commit()?;
//!
//! let file = dir.path().join("b.npy");
//! export(&store, &file, &ExportOptions::default(), &mut |_| ())?;
//! import(&store, &[&file], &ImportOptions::default(), &mut |_| ())?;
//! assert_eq!(&*store.array("b")?.contiguous()?, [1, 2, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod csv;
mod error;
mod export;
mod format;
mod fortran;
mod import;
mod npy;
mod npz;
mod output;
mod progress;
mod table;
mod text;

pub use error::{Error, Result};
pub use export::{ExportOptions, Exported, export, write_batches};
pub use format::Format;
pub use import::{ImportOptions, Imported, check_readable, import};
pub use output::Output;
pub use progress::Progress;
pub use text::read_text;
