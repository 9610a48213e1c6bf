//! The tables, statements and sessions as users have them: one binary, one module a topic.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests fail by panicking, and nothing outside of them reads their items"
)]

mod changes;
mod filters;
mod table;
