//! The one error type of this crate.

use thiserror::Error;

/// Why bytes, a name, a shape or a dtype were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A file does not follow the format: damaged, truncated or crafted.
    #[error("{file} is corrupt: {reason}")]
    Corrupt {
        /// Which kind of file, such as `metadata.npkm`.
        file: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
    /// A file was written by a later release.
    #[error(
        "{file} has format version {found}, this release reads versions up to {supported}: \
         upgrade numpack to open it"
    )]
    NewerVersion {
        /// Which kind of file, such as `metadata.npkm`.
        file: &'static str,
        /// The version in the file.
        found: u32,
        /// The newest version this release reads.
        supported: u32,
    },
    /// A file uses a feature of the format that no release ever implemented.
    #[error("{file} is not supported: {reason}")]
    Unsupported {
        /// Which kind of file, such as `metadata.npkm`.
        file: &'static str,
        /// The feature that was found.
        reason: String,
    },
    /// A string cannot be the name of an array.
    #[error("invalid array name: {reason}")]
    InvalidName {
        /// What is wrong with it.
        reason: String,
    },
    /// Dimensions that no array can have.
    #[error("invalid shape: {reason}")]
    InvalidShape {
        /// What is wrong with it.
        reason: String,
    },
    /// A text cannot be the attributes of a store or an array.
    #[error("invalid attributes: {reason}")]
    InvalidAttrs {
        /// What is wrong with it.
        reason: String,
    },
    /// A dtype code or name outside the fourteen that are stored.
    #[error(
        "unknown dtype {given}, expected one of bool, uint8 to uint64, int8 to int64, float16 to float64, complex64, complex128"
    )]
    UnknownDType {
        /// The code or name as given.
        given: String,
    },
}

/// The result of everything here that can fail.
pub type Result<T, E = FormatError> = std::result::Result<T, E>;
