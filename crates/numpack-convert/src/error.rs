//! Why a file could not be taken over or written.
use std::io;
use std::path::{Path, PathBuf};

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a conversion failed; nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the engine reports.
    #[error(transparent)]
    Engine(#[from] numpack::Error),
    /// What the way to or from Arrow reports: nulls, and types that no dtype stands for.
    #[error(transparent)]
    Arrow(#[from] numpack::arrow::Error),
    /// The extension says nothing about the format.
    #[error("\"{}\": the extension is none of npy, npz, csv, parquet, arrow and arrows", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("\"{}\": {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file's content is not what its format asks for.
    #[error("\"{}\": {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A type that no dtype of a store stands for.
    #[error(
        "\"{}\": column \"{column}\" is {dtype} ({count} values), which no dtype of a store stands for",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The array or column.
        column: String,
        /// Its type as the file names it.
        dtype: String,
        /// How many values it has.
        count: u64,
    },
    /// Arrays have no missing values.
    #[error(
        "\"{}\": column \"{column}\" ({dtype}) has {count} nulls; arrays hold none",
        path.display()
    )]
    Nulls {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        dtype: String,
        /// How many of its rows are null.
        count: u64,
    },
    /// A request that cannot be met.
    #[error("{0}")]
    Request(String),
}

impl Error {
    #[allow(
        clippy::needless_pass_by_value,
        reason = "errors are handed over, and so are texts made for this"
    )]
    pub(crate) fn content(path: &Path, reason: impl ToString) -> Self {
        Self::Content {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }
}

/// Names the file of a failed call.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            path: path.to_path_buf(),
            source,
        })
    }
}

macro_rules! content_at {
    ($($error:ty),*) => {$(
        impl<T> At<T> for std::result::Result<T, $error> {
            fn at(self, path: &Path) -> Result<T> {
                self.map_err(|error| Error::content(path, error))
            }
        }
    )*};
}

content_at!(
    arrow_schema::ArrowError,
    parquet::errors::ParquetError,
    zip::result::ZipError
);
