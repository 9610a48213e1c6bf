//! Statements that change stores.
//!
//! DataFusion hands the hooks of a table too little to know which rows a DELETE or an UPDATE means,
//! so they never act. Instead [`rule`] turns the statement into a [`node`] of our own over the very
//! plan that a SELECT with the same WHERE would have, with the position of each row as an extra
//! column ([`position`]). [`planner`] fixes the instant that the statement reads and makes an
//! [`exec`] of it, which runs that plan to its end, keeps what is to change ([`edits`], [`values`]),
//! and commits it as one transaction.

mod blame;
mod copy_from;
pub(crate) mod copy_to;
pub(crate) mod create;
mod edits;
mod exec;
mod fit;
mod insert;
mod merge;
pub(crate) mod node;
pub(crate) mod pin;
mod planner;
mod position;
pub(crate) mod rule;
pub(crate) mod statement;
mod target;
mod values;

pub use planner::NumPackPlanner;
pub use rule::ChangeRule;
pub use statement::sql;
