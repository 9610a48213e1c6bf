//! The bytes of a NumPack store: metadata, deletion bitmaps, segment lists and the journal.
//!
//! Nothing here touches a file. Every decoder takes a slice that may hold anything, checks each
//! length before using it, and gives a value that upholds the rules of `docs/format.md`, or an
//! error that names what was found and what was expected.
#![forbid(unsafe_code)]

mod array_meta;
mod attrs;
mod bitmap;
mod checksum;
mod codec;
mod dtype;
mod error;
#[cfg(test)]
mod golden;
pub mod journal;
mod metadata;
mod name;
mod segments;
mod shape;
pub mod store_files;
mod sums;
mod trailer;

pub use array_meta::ArrayMeta;
pub use attrs::Attrs;
pub use bitmap::BitmapFile;
pub use checksum::{BLOCK_LEN, BlockHasher, PartialBlock, block_sum, content_hash};
pub use dtype::DType;
pub use error::{FormatError, Result};
pub use metadata::{MAX_METADATA_LEN, Metadata, MetadataEntry, Storage};
pub use name::ArrayName;
pub use segments::{Segment, SegmentManifest};
pub use shape::{MAX_NDIM, Shape};
pub use store_files::is_store_file;
pub use sums::SumsFile;
pub use trailer::{Trailer, TrailerEntry};
