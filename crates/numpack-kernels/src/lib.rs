//! Loops over rows of bytes: slices in, slices out.
//!
//! A *row* is `row_bytes` consecutive bytes; row `i` of a slice starts at byte `i * row_bytes`.
//! Nothing here knows files, dtypes or Arrow, so each kernel can be tested against three lines of
//! plain Rust (`tests/model.rs`) and measured in seconds (`benches/rust/kernels.rs`).
//!
//! Row numbers come from users and are checked: a bad one is a [`GatherError`], found before
//! the first byte is written. Lengths of slices are the caller's arithmetic: a wrong one is a bug
//! and panics, as in [`slice::copy_from_slice`].
//!
//! ```
//! use numpack_kernels::gather_rows;
//!
//! let rows_of_two = [1, 2, 3, 4, 5, 6];
//! let mut out = [0; 4];
//! gather_rows(&rows_of_two, 2, &[2, 0], &mut out)?;
//! assert_eq!(out, [5, 6, 1, 2]);
//! # Ok::<(), numpack_kernels::GatherError>(())
//! ```

mod bools;
mod diff;
mod distance;
mod extremes;
mod gather;
mod processor;
mod ranks;
mod rows;
mod scatter;
mod strided;
mod top;

pub use bools::pack_bools;
pub use diff::diff_rows;
pub use distance::{Metric, Query, UNDEFINED, Vectors, distances_between};
pub use extremes::{Number, extremes};
pub use gather::gather_rows;
pub use ranks::{Ranked, mark_ranks};
pub use rows::GatherError;
pub use scatter::scatter_rows;
pub use strided::gather_strided;
pub use top::{Order, Top};
