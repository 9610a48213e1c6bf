use std::io;

use datafusion::common::DataFusionError;
use tokio::task::JoinError;

/// A result whose error is [`SqlError`].
pub type Result<T> = std::result::Result<T, SqlError>;

/// What a task that did not come to its end is for who waits for it.
pub(crate) fn died(error: JoinError) -> DataFusionError {
    DataFusionError::ExecutionJoin(Box::new(error))
}

/// Why a store could not be queried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The engine could not give the arrays.
    #[error(transparent)]
    Engine(#[from] numpack_engine::Error),

    /// An array could not be shown as Arrow.
    #[error(transparent)]
    View(#[from] numpack_arrow::Error),

    /// The arrays of one relation have different numbers of rows.
    #[error(
        "arrays of unequal length are not one relation: {lengths}; name only arrays of one length, \
         in Python npk.table({together}).sql(...)"
    )]
    UnequalRows {
        /// Each array with its number of rows.
        lengths: String,
        /// Most of the arrays that have one length, as arguments.
        together: String,
    },

    /// A 0-d array was named as a column.
    #[error("array \"{name}\" is 0-d: it has no rows and is no column of a relation")]
    NoRows {
        /// Name of the array.
        name: String,
    },

    /// One array was named twice as a column.
    #[error("array \"{name}\" is named twice: columns of a relation have different names")]
    NamedTwice {
        /// Name of the array.
        name: String,
    },

    /// An array is no longer of the type that the table was made with.
    #[error(
        "array \"{name}\" was {expected} when the table was opened and is {found} now; \
         open the table again"
    )]
    Changed {
        /// Name of the array.
        name: String,
        /// Its Arrow type when the table was made.
        expected: String,
        /// Its Arrow type in the snapshot that was to be scanned.
        found: String,
    },

    /// An INSERT leaves arrays out, and a store has no place for what is not there.
    #[error(
        "INSERT INTO {table}: {count} {nouns} missing ({missing}), and every array of a table gets \
         a row",
        nouns = if *count == 1 { "column is" } else { "columns are" }
    )]
    MissingColumns {
        /// The table, as the statement calls it.
        table: String,
        /// The columns.
        missing: String,
        /// How many they are.
        count: usize,
    },

    /// One row would get two values in one column.
    #[error("UPDATE {table}: column \"{column}\" is set twice")]
    SetTwice {
        /// The table, as the statement calls it.
        table: String,
        /// The column.
        column: String,
    },

    /// An INSERT gives more or fewer values than there are columns.
    #[error("INSERT INTO {table}: {given}, and there are values for {columns} to give")]
    WrongCount {
        /// The table, as the statement calls it.
        table: String,
        /// What was given.
        given: String,
        /// How many columns there are, and which.
        columns: String,
    },

    /// A statement gives a column something that cannot become a value of it.
    #[error("column \"{column}\" of {table}: {problem}")]
    DoesNotFit {
        /// The table, as the statement calls it.
        table: String,
        /// The column.
        column: String,
        /// What does not fit, and why.
        problem: String,
    },

    /// A statement gives a value to `row_id`.
    #[error("{verb} of row_id: it is the position of a row in its table and follows by itself")]
    RowIdGiven {
        /// What the statement would do.
        verb: &'static str,
    },

    /// A statement that changes a store was planned by a session that cannot carry it out.
    #[error(
        "{verb} on a NumPack table is not possible in this session: DataFusion alone does not say \
         which rows a statement means; call numpack_datafusion::register() with your SessionContext, \
         or begin with numpack_datafusion::session()"
    )]
    NotRegistered {
        /// What the statement would do.
        verb: &'static str,
    },

    /// A statement that a connection over stores knows nothing to do with.
    #[error("{statement} is not possible over stores")]
    NotPossible {
        /// What the statement is, in SQL's words.
        statement: String,
    },

    /// A statement that changes a store, on a connection that only reads.
    #[error(
        "{statement}: only queries are possible here (the connection only reads, or a batch_mode() \
         block is open)"
    )]
    ReadOnly {
        /// What the statement is.
        statement: String,
    },

    /// CREATE TABLE in a store, where a table is one array, of something else than one column.
    #[error(
        "CREATE TABLE {name}: a table of a store is one array, and the query gives {columns} columns; \
         select one column, or connect to a directory of stores, where a new table is a store"
    )]
    NotOneColumn {
        /// The table.
        name: String,
        /// How many columns the query gives, `row_id` not counted.
        columns: usize,
    },

    /// An argument, an option or a parameter that makes no sense.
    #[error("{0}")]
    Usage(String),

    /// The query wants something that lies outside of the stores that the connection is over.
    #[error("{what} reaches outside of the stores named, and external_access is off")]
    NoAccess {
        /// What reaches there.
        what: String,
    },

    /// Rows were asked for in a fork of the process that computes them.
    #[error(
        "the rows are computed in the process that this one was forked from; run the query here"
    )]
    OtherProcess,

    /// A blocking call was made on a thread that an async runtime drives.
    #[error("this call blocks its thread; inside an async runtime, await query and stream instead")]
    InsideRuntime,

    /// The threads that queries run on could not be started.
    #[error("starting the threads that queries run on")]
    Threads(#[source] io::Error),

    /// The store's interrupt asked to stop.
    #[error("interrupted")]
    Interrupted,

    /// DataFusion could not parse, plan or run the statement.
    #[error("{}", text(.0))]
    DataFusion(Box<DataFusionError>),
}

/// On its way through DataFusion an error of ours travels as an external one ...
impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::DataFusion(error) => *error,
            error => Self::External(Box::new(error)),
        }
    }
}

/// ... and comes out as itself.
impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(external) => match external.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(foreign) => Self::DataFusion(Box::new(DataFusionError::External(foreign))),
            },
            DataFusionError::Context(context, inner) if is_rule(&context) => Self::from(*inner),
            DataFusionError::Context(context, inner) => match Self::from(*inner) {
                Self::DataFusion(inner) => {
                    Self::DataFusion(Box::new(DataFusionError::Context(context, inner)))
                }
                ours => ours,
            },
            DataFusionError::Diagnostic(diagnostic, inner) => match Self::from(*inner) {
                Self::DataFusion(inner) => {
                    Self::DataFusion(Box::new(DataFusionError::Diagnostic(diagnostic, inner)))
                }
                ours => ours,
            },
            other => Self::DataFusion(Box::new(other)),
        }
    }
}

/// Whether the context of an error is the name of a rule that met it, which says nothing to whoever
/// wrote the statement.
fn is_rule(context: &str) -> bool {
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    context.starts_with("Optimizer rule ")
        || (context.contains('_') && context.chars().all(is_name))
}

/// What DataFusion says, without the advice to write quotes, which change nothing here, or to set an
/// option, which is not possible.
fn text(error: &DataFusionError) -> String {
    let text = error.to_string();
    let lines = text
        .lines()
        .map(|line| match line.split_once(" You can use double quotes") {
            Some((kept, advice)) if advice.contains("enable_ident_normalization") => kept,
            _ => line,
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_survives_the_way_through_datafusion() {
        let sent = SqlError::NoRows {
            name: "scalar".to_owned(),
        };
        let text = sent.to_string();
        let wrapped = DataFusionError::from(sent)
            .context("planning")
            .context("running");
        let back = SqlError::from(wrapped);
        assert!(matches!(back, SqlError::NoRows { .. }), "{back}");
        assert_eq!(back.to_string(), text);
    }

    #[test]
    fn the_name_of_a_rule_is_no_context() {
        for rule in [
            "numpack_changes",
            "Optimizer rule 'simplify_expressions' failed",
        ] {
            let error = DataFusionError::Plan("no such thing".to_owned()).context(rule);
            let text = SqlError::from(error.context("planning")).to_string();
            assert!(!text.contains(rule), "{text}");
        }
    }

    #[test]
    fn an_error_of_datafusion_keeps_its_context() {
        let error = DataFusionError::Plan("no such thing".to_owned()).context("planning");
        let text = error.to_string();
        assert_eq!(SqlError::from(error).to_string(), text);
    }
}
