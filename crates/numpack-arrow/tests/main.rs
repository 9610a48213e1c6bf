//! Stores as Arrow and Arrow as rows, as users see them: one binary, one module a topic.

mod fixture;
mod rows;
mod streams;
mod views;
