//! The engine as its users see it: one binary, one module a topic.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests fail by panicking, and nothing outside of them reads their items"
)]

mod attrs;
mod backup_sums;
mod batches;
mod copies;
mod corpus;
mod corruption;
mod counts;
mod crash;
mod disk;
mod faults;
mod files;
mod images;
mod kit;
mod locks;
mod model;
mod modes;
mod place;
mod processes;
mod replacing;
mod stats;
mod verifying;
mod views;
mod workload;
