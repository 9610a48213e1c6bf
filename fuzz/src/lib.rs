//! Everything in NumPack that reads bytes it did not write, ready to be fed with any bytes.
//!
//! A target is one plain function. `targets/` gives it to libFuzzer; `tests/corpus.rs` of the crate that
//! it is about includes the file, and gives it the inputs in `corpus/`.
#![allow(
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation,
    reason = "a target panics when it has found something; what is cast was made small here"
)]

pub mod files;
pub mod format;
pub mod seal;
pub mod store;
