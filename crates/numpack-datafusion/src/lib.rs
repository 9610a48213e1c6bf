//! SQL over NumPack stores, through Apache DataFusion.
//!
//! A store is a relation: its arrays are the columns, one row of every array is a row, and the
//! position of the row is the last column, `row_id`. [`NumPackTable`] is that relation as a
//! DataFusion table, [`NumPackSchema`] and [`NumPackCatalog`] are directories of stores. [`Connection`]
//! is SQL over one store, several or a directory; [`sql_collect`] and [`query`] run one query over a
//! store, which is called `self` in the query's text.
//!
//! ```
//! use numpack_datafusion::sql_collect;
//! use numpack_engine::{Options, Store};
//! use numpack_format::{ArrayMeta, DType, Shape};
//!
//! # let dir = std::env::temp_dir().join(format!("numpack-sql-doc-{}", std::process::id()));
//! let store = Store::open(&dir, &Options::default())?;
//! let meta = ArrayMeta { dtype: DType::UInt8, shape: Shape::new(&[4], DType::UInt8)? };
//! let mut change = store.begin()?;
//! change.put("label", &meta, &mut [3u8, 1, 3, 2].as_slice())?;
//! change.commit()?;
//!
//! let result = sql_collect(&store, "SELECT row_id FROM self WHERE label = 3")?;
//! assert_eq!(result.rows(), 2);
//! # store.close()?;
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalog;
mod connection;
mod counted;
mod directory;
mod dml;
mod errands;
mod error;
mod external;
mod factory;
pub mod ffi;
mod functions;
mod held;
mod instants;
mod item;
mod nearest;
mod params;
mod place;
mod query;
mod query_catalog;
mod reach;
mod read_numpack;
mod relation;
mod rows;
mod runtime;
mod scan;
mod schema;
mod session;
mod session_tables;
mod source;
mod sources;
mod spread;
mod statements;
mod table;
mod views;
mod zones;

pub use datafusion::common::ScalarValue;

pub use catalog::NumPackCatalog;
pub use connection::{Connection, ConnectionOptions};
pub use dml::{ChangeRule, NumPackPlanner, sql};
pub use error::{Result, SqlError};
pub use factory::{NUMPACK, NumPackTableFactory};
pub use functions::register_functions;
pub use params::Params;
pub use query::{Query, QueryResult, query, sql_collect};
pub use read_numpack::{READ_NUMPACK, ReadNumPack};
pub use relation::ROW_ID;
pub use rows::Rows;
pub use schema::NumPackSchema;
pub use session::{register, session};
pub use source::NumPackSource;
pub use table::NumPackTable;
