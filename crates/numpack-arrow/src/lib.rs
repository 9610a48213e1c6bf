//! NumPack arrays as Apache Arrow arrays that lie over the store's own pages.
//!
//! Everything here starts from a snapshot ([`ArraySnapshot`] or [`Snapshot`]) and ends in types of
//! `arrow-array`. A contiguous array is handed out without a copy: the Arrow buffer's address is
//! the mapping's, and the buffer keeps the mapping alive. Which array becomes which Arrow type is
//! said once, in [`ArrowType`].
//!
//! ```
//! use numpack_arrow::{ArrowOptions, array};
//! use numpack_engine::{Options, Store};
//! use numpack_format::{ArrayMeta, DType, Shape};
//!
//! # let dir = std::env::temp_dir().join(format!("numpack-arrow-doc-{}", std::process::id()));
//! let store = Store::open(&dir, &Options::default())?;
//! let meta = ArrayMeta { dtype: DType::UInt8, shape: Shape::new(&[3, 2], DType::UInt8)? };
//! let mut change = store.begin()?;
//! change.put("pairs", &meta, &mut [1u8, 2, 3, 4, 5, 6].as_slice())?;
//! change.commit()?;
//!
//! let pairs = array(&store.array("pairs")?, &ArrowOptions::default())?;
//! assert_eq!(pairs.len(), 3);
//! assert_eq!(pairs.data_type().to_string(), "FixedSizeList(2 x UInt8)");
//! # store.close()?;
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`ArraySnapshot`]: numpack_engine::ArraySnapshot
//! [`Snapshot`]: numpack_engine::Snapshot

mod array;
mod batch;
mod buffer;
mod column;
mod datatype;
mod error;
mod lists;
mod origin;
mod reader;
mod rows;
mod snapshot_reader;

pub use array::{array, chunk, chunks};
pub use batch::{batch, batches, schema, schema_of};
pub use column::{ColumnReader, LiveRows, Piece};
pub use datatype::{AXIS_PREFIX, ArrowOptions, ArrowType, DTYPE_KEY, field, info_field};
pub use error::{Error, Result};
pub use origin::row_of;
pub use reader::ArrayReader;
pub use rows::ArrowRows;
pub use snapshot_reader::SnapshotReader;
