//! Integration tests; a new file needs a line here.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod cli;
mod file_size;
mod layering;
mod one_build;
mod unsafe_files;
