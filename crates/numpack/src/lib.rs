#![doc = include_str!("../../../README.md")]

pub use numpack_engine::{
    ArrayInfo, ArraySnapshot, Batches, Damage, Durability, Error, Interrupt, JournalDump, Locked,
    Mode, Options, OwnedBuffer, Pending, PrivateMap, Problem, Report, Result, RowSet, RowSource,
    Run, Selection, Snapshot, Stats, Store, Transaction, Unchecked, View, dump_journal, repair,
};
pub use numpack_format::{ArrayMeta, ArrayName, Attrs, DType, FormatError, Shape};

/// The journal's records, for programs that look into one.
pub mod journal {
    pub use numpack_format::journal::{
        Append, Content, DeleteRows, Frame, Header, Hint, Kept, Put, Record, Replace,
    };
}

/// Snapshots as Apache Arrow arrays, without a copy where the rows allow it, and Arrow as rows.
#[cfg(feature = "arrow")]
pub mod arrow {
    pub use numpack_arrow::{
        AXIS_PREFIX, ArrayReader, ArrowOptions, ArrowRows, ArrowType, DTYPE_KEY, Error, Result,
        SnapshotReader, array, batch, batches, chunk, chunks, field, info_field, schema, schema_of,
    };
}

/// Stores as DataFusion tables, and SQL over a store.
#[cfg(feature = "datafusion")]
pub mod datafusion {
    pub use numpack_datafusion::{
        Connection, ConnectionOptions, NUMPACK, NumPackCatalog, NumPackSchema, NumPackSource,
        NumPackTable, NumPackTableFactory, Params, Query, QueryResult, READ_NUMPACK, ROW_ID,
        ReadNumPack, Rows, ScalarValue, SqlError, ffi, query, register, session, sql_collect,
    };
}

#[cfg(feature = "datafusion")]
pub use numpack_datafusion::NumPackTable;
