//! SQL over NumPack stores, through Apache DataFusion.
//!
//! A store is a relation: its arrays are the columns, one row of every array is a row, and the
//! position of the row is the last column, `row_id`. [`NumPackTable`] is that relation as a
//! DataFusion table; [`sql_collect`] and [`query`] run one query over a store, which is called
//! `self` in the query's text.
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

mod dml;
mod error;
mod query;
mod relation;
mod runtime;
mod scan;
mod session;
mod source;
mod store_schema;
mod table;

pub use dml::{ChangeRule, NumPackPlanner, sql};
pub use error::{Result, SqlError};
pub use query::{QueryResult, query, sql_collect, sql_collect_of};
pub use relation::ROW_ID;
pub use session::{register, session};
pub use source::NumPackSource;
pub use table::NumPackTable;
