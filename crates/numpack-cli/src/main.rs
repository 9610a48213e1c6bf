//! The `numpack` command; the library of this package does the work.
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(numpack_cli::main_with(std::env::args_os()))
}
