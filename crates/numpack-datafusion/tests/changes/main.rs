//! Statements that change stores, and those that must not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests fail by panicking, and nothing outside of them reads their items"
)]

mod conflicts;
mod fixture;
mod inserts;
mod once;
mod refusals;
mod traps;
