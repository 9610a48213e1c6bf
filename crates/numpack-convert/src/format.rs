//! The file formats and how a file shows which one it has.
use std::path::Path;

use crate::error::{Error, Result};

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One NumPy array.
    Npy,
    /// A zip file of NumPy arrays.
    Npz,
    /// Text, a line a row, with a header line.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// An Apache Arrow IPC file (Feather 2).
    Ipc,
    /// An Apache Arrow IPC stream.
    IpcStream,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [
        Self::Npy,
        Self::Npz,
        Self::Csv,
        Self::Parquet,
        Self::Ipc,
        Self::IpcStream,
    ];

    /// The format's name: `npy`, `npz`, `csv`, `parquet`, `arrow` or `arrows`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Ipc => "arrow",
            Self::IpcStream => "arrows",
        }
    }

    /// The format that a file's extension stands for.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`] for any other extension, or none.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        let format = match extension.as_str() {
            "npy" => Self::Npy,
            "npz" => Self::Npz,
            "csv" => Self::Csv,
            "parquet" | "pq" => Self::Parquet,
            "arrow" | "feather" | "ipc" => Self::Ipc,
            "arrows" => Self::IpcStream,
            _ => {
                return Err(Error::UnknownFormat {
                    path: path.to_path_buf(),
                });
            }
        };
        Ok(format)
    }
}
