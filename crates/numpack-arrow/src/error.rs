use arrow_schema::ArrowError;

/// A result whose error is [`ArrowViewError`].
pub type Result<T> = std::result::Result<T, ArrowViewError>;

/// Why an array could not be shown as Arrow.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArrowViewError {
    /// The engine could not give the bytes.
    #[error(transparent)]
    Engine(#[from] numpack_engine::Error),

    /// One Arrow array would need a copy, and a copy was ruled out.
    #[error(
        "array \"{name}\": its live rows lie in {runs} runs ({deleted} rows are deleted), so one \
         Arrow array needs a copy, which zero_copy_only rules out"
    )]
    Scattered {
        /// Name of the array.
        name: String,
        /// Number of runs of live rows.
        runs: usize,
        /// Number of deleted rows.
        deleted: u64,
    },

    /// The rows asked for are not all live, or do not lie in one piece.
    #[error("array \"{name}\": physical rows {start}..{end} do not lie in one run of live rows")]
    NotOneRun {
        /// Name of the array.
        name: String,
        /// First physical row asked for.
        start: u64,
        /// The physical row after the last one asked for.
        end: u64,
    },

    /// Values are stored in another form than the one asked for, and a copy was ruled out.
    #[error("array \"{name}\": {reason}, which needs a copy that zero_copy_only rules out")]
    NeedsCopy {
        /// Name of the array.
        name: String,
        /// What makes the copy necessary.
        reason: &'static str,
    },

    /// Arrays of different lengths were asked for as columns of one table.
    #[error("arrays of unequal length are not one table: {lengths}")]
    UnequalRows {
        /// Each array with its number of rows.
        lengths: String,
    },

    /// One row has more values than an Arrow list of fixed size can hold.
    #[error(
        "array \"{name}\": a row of {width} values does not fit an Arrow fixed-size list, \
         which holds at most {max}",
        max = i32::MAX
    )]
    TooWide {
        /// Name of the array.
        name: String,
        /// Values in one row.
        width: u64,
    },

    /// The array is longer than this machine can address.
    #[error("array \"{name}\": {rows} rows are more than this machine can address")]
    TooLong {
        /// Name of the array.
        name: String,
        /// Rows asked for.
        rows: u64,
    },

    /// Arrow refused the parts it was given.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}
