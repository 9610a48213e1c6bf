//! Files into stores and back: one binary, one module a topic.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod files;
#[cfg(target_os = "linux")]
mod memory;
