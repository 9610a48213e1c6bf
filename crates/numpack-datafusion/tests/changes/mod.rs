//! Statements that change stores, and those that must not.

mod conflicts;
mod files;
mod fixture;
mod inserts;
mod once;
mod refusals;
mod traps;
