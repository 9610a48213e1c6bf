//! The `numpack` command; the library of this package does the work.
use std::process::ExitCode;

use mimalloc::MiMalloc;

/// As in the Python package: docs/decisions/0016-short-statements.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(numpack_cli::main_with(std::env::args_os()))
}
