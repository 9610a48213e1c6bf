//! Why a command failed, in one line with a hint.
use std::fmt;
use std::io;

/// What can end a command early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store could not be read.
    Store(numpack::Error),
    /// Its text names the array asked for and the arrays there are.
    NoSuchArray(String),
    /// Something is wrong with the store, which has been said.
    Found,
    /// The result could not be written.
    Output(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => match hint(error) {
                Some(hint) => write!(f, "{error} (hint: {hint})"),
                None => write!(f, "{error}"),
            },
            Self::NoSuchArray(text) => f.write_str(text),
            Self::Found => f.write_str("problems were found"),
            Self::Output(error) => write!(f, "cannot write the result: {error}"),
        }
    }
}

/// What to try next.
fn hint(error: &numpack::Error) -> Option<&'static str> {
    match error {
        numpack::Error::NoStore { .. } => {
            Some("a store is a directory that holds metadata.npkm or .npk/journal")
        }
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
