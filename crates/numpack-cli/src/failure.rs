//! Why a command failed, in one line with a hint.
use std::fmt;
use std::io;

use arrow_schema::ArrowError;
use numpack::datafusion::SqlError;

use crate::output::escaped;

/// What can end a command early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store could not be read.
    Store(numpack::Error),
    /// A file could not be taken over or written.
    Convert(numpack_convert::Error),
    /// The query could not be planned or run.
    Sql(Box<SqlError>),
    /// The options do not go together; the text has a hint.
    Usage(String),
    /// What was asked for cannot be done with what is there; the text has a hint.
    Request(String),
    /// Something is wrong with the store, which has been said.
    Found,
    /// The result could not be written.
    Output(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, hint) = match self {
            Self::Store(error) => (error.to_string(), hint(error)),
            Self::Convert(error) => (error.to_string(), convert_hint(error)),
            Self::Sql(error) => {
                let text = match &**error {
                    SqlError::ReadOnly { statement } => {
                        format!("{statement}: only queries are run")
                    }
                    other => other.to_string(),
                };
                // Messages of SQL may take several lines.
                let words: Vec<&str> = text.split_whitespace().collect();
                (words.join(" "), sql_hint(error))
            }
            Self::Request(text) | Self::Usage(text) => (text.clone(), None),
            Self::Found => ("problems were found".to_owned(), None),
            Self::Output(error) => (format!("cannot write the result: {error}"), None),
        };
        f.write_str(&escaped(&text))?;
        match hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

/// What to try next.
fn hint(error: &numpack::Error) -> Option<&'static str> {
    match error {
        numpack::Error::NoStore { .. } => {
            Some("a store is a directory that holds metadata.npkm or .npk/journal")
        }
        numpack::Error::NotFound { .. } => Some("`numpack ls DIR` lists the arrays"),
        numpack::Error::Busy { .. } => Some("a writer holds the store; try again when it is done"),
        numpack::Error::Corrupt { .. } => {
            Some("`numpack journal DIR` shows how far the journal can be read")
        }
        numpack::Error::Io { path, source, .. }
            if path.ends_with(".npk/journal") && source.kind() == io::ErrorKind::NotFound =>
        {
            Some("a store that only NumPack 0.4 has written has no journal")
        }
        _ => None,
    }
}

/// What to try next with a file.
fn convert_hint(error: &numpack_convert::Error) -> Option<&'static str> {
    use numpack_convert::Error as Convert;
    match error {
        Convert::Engine(numpack::Error::AlreadyExists { .. }) => {
            Some("--overwrite replaces arrays of the same name")
        }
        Convert::Engine(error) => hint(error),
        Convert::UnknownFormat { .. } => Some("--format says which one it is"),
        Convert::Unsupported { .. } | Convert::Nulls { .. } => {
            Some("--columns takes only the columns that are named")
        }
        _ => None,
    }
}

/// What to try next with a query.
fn sql_hint(error: &SqlError) -> Option<&'static str> {
    match error {
        SqlError::Engine(error) => hint(error),
        SqlError::ReadOnly { .. } => Some("--write lets statements change what is there"),
        SqlError::UnequalRows { .. } => Some("each array is a table of its own: FROM name"),
        SqlError::DataFusion(error) => {
            let text = error.to_string();
            if text.contains("No field named") {
                Some("names are taken as written: Label is not label")
            } else if text.contains("table '") && text.contains("not found") {
                Some("a store is the table self, in a directory each store is one by its name")
            } else {
                None
            }
        }
        _ => None,
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Sql(Box::new(error))
    }
}

/// Rows that were computed can only fail to be written.
impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => Self::Output(error),
            ArrowError::CsvError(text) => Self::Output(io::Error::other(text)),
            other => Self::Output(io::Error::other(other)),
        }
    }
}

impl From<numpack_convert::Error> for Failure {
    fn from(error: numpack_convert::Error) -> Self {
        Self::Convert(error)
    }
}

impl From<numpack::Error> for Failure {
    fn from(error: numpack::Error) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}
