use arrow_schema::ArrowError;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why an array could not be shown as Arrow, or Arrow data not be taken as rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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

    /// Rows have no value at this place.
    #[error("array \"{name}\": rows of {width} values have none at position {position}")]
    NoSuchItem {
        /// Name of the array.
        name: String,
        /// The position asked for, counted from 0.
        position: usize,
        /// Values of a row.
        width: i32,
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

    /// Arrow data of a type that no dtype stands for.
    #[error(
        "column \"{name}\" is {data_type} ({rows} rows): a store holds bool, integers, floats of \
         16 to 64 bits, complex numbers of 64 and 128 bits, and lists of one length of them"
    )]
    Unsupported {
        /// Name of the column.
        name: String,
        /// Its Arrow type.
        data_type: String,
        /// Its length.
        rows: usize,
    },

    /// Arrow data with nulls, for which a store has no place.
    #[error(
        "column \"{name}\" has {nulls} {nouns}, and a store has none: fill them first",
        nouns = if *nulls == 1 { "null" } else { "nulls" }
    )]
    Nulls {
        /// Name of the column.
        name: String,
        /// How many values or lists are missing.
        nulls: usize,
    },

    /// Lists of different lengths.
    #[error(
        "column \"{name}\": row {row} has a list of {given}, the first row one of {expected}; a \
         store holds lists of one length"
    )]
    UnequalLists {
        /// Name of the column.
        name: String,
        /// The first row that differs.
        row: u64,
        /// Length of the first list.
        expected: usize,
        /// Length of this row's list.
        given: usize,
    },

    /// A column was named that the data do not have.
    #[error("column \"{name}\" not found, the data has: {there}")]
    NoColumn {
        /// The name.
        name: String,
        /// Names of the columns that there are.
        there: String,
    },

    /// Two columns have one name, and arrays have names of their own.
    #[error("two columns are named \"{name}\"")]
    TwoColumns {
        /// The name.
        name: String,
    },

    /// Arrow refused the parts it was given.
    #[error(transparent)]
    Arrow(ArrowError),
}

impl From<ArrowError> for Error {
    /// What went through a stream as Arrow's comes out of it as what it was.
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::ExternalError(inner) => match inner.downcast::<Self>() {
                Ok(error) => *error,
                Err(other) => Self::Arrow(ArrowError::ExternalError(other)),
            },
            other => Self::Arrow(other),
        }
    }
}

impl From<Error> for ArrowError {
    /// For streams, whose errors are Arrow's.
    fn from(error: Error) -> Self {
        match error {
            Error::Arrow(error) => error,
            other => Self::ExternalError(Box::new(other)),
        }
    }
}
