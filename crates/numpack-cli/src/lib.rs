//! The `numpack` command line: looks into stores, takes files over into them and back, checks and repairs.
//!
//! Commands that only look open their store read-only, so they work beside a running writer and on
//! media that cannot be written. The Python wheel installs the same code as its own `numpack` command.
//!
//! ```
//! let (mut out, mut err) = (Vec::new(), Vec::new());
//! let code = numpack_cli::run(["numpack", "ls", "no/such/store"], &mut out, &mut err, Default::default());
//! assert_eq!(code, 1);
//! assert!(out.is_empty());
//! assert!(err.starts_with(b"error: "));
//! ```
#![forbid(unsafe_code)]

mod args;
mod cancel;
mod commands;
mod failure;
mod output;
mod progress;
mod prompt;
mod rows;
mod statements;

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};

use clap::Parser;
use clap::error::ErrorKind as Mistake;

use crate::args::Args;
use crate::failure::Failure;

pub use crate::output::Style;

/// Everything asked for was done.
pub const EXIT_OK: u8 = 0;
/// The store could not be read, holds no such array, or is damaged.
pub const EXIT_ERROR: u8 = 1;
/// The command line itself makes no sense.
pub const EXIT_USAGE: u8 = 2;

/// Runs one command on this process's own standard streams and returns its exit code.
///
/// `args` starts with the program's name, as [`std::env::args_os`] does. Unless `--color` says
/// otherwise, colors appear only on a terminal, and not if `NO_COLOR` is set.
pub fn main_with<I, T>(args: I) -> u8
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = Style {
        color_out: wanted && out.is_terminal(),
        color_err: wanted && err.is_terminal(),
    };
    run(args, &mut out, &mut err, style)
}

/// Runs one command, writing results to `out` and complaints to `err`, and returns its exit code:
/// 0 for success, 1 for an error, 2 for a command line that makes no sense. `style` is what
/// `--color auto` stands for.
///
/// A reader of `out` that goes away (`numpack ls DIR | head -1`) is no error.
pub fn run<I, T>(args: I, out: &mut dyn Write, err: &mut dyn Write, style: Style) -> u8
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(usage) => return explain(&usage, out, err, style),
    };
    let style = style.under(args.color);
    let done = commands::run(&args.command, out, style).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => EXIT_OK,
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => EXIT_OK,
        Err(Failure::Found) => {
            // The exit code says it even if the last words do not arrive.
            let _ = out.flush();
            EXIT_ERROR
        }
        Err(failure) => {
            // Nobody is left to tell if these writes fail too; the exit code still says it.
            let _ = out.flush();
            let _ = writeln!(err, "{} {failure}", style.error("error:"));
            match failure {
                Failure::Usage(_) => EXIT_USAGE,
                _ => EXIT_ERROR,
            }
        }
    }
}

/// Prints what the argument parser has to say: help and version to `out`, mistakes as one line to `err`.
fn explain<'a>(
    usage: &clap::Error,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    style: Style,
) -> u8 {
    if usage.use_stderr() && usage.kind() != Mistake::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nobody is left to tell if this write fails too; the exit code still says it.
        let _ = writeln!(err, "{} {}", style.error("error:"), mistake(usage));
        return EXIT_USAGE;
    }
    let (sink, color, code) = if usage.use_stderr() {
        (err, style.color_err, EXIT_USAGE)
    } else {
        (out, style.color_out, EXIT_OK)
    };
    let text = usage.render();
    let written = if color {
        write!(sink, "{}", text.ansi())
    } else {
        write!(sink, "{text}")
    };
    match written.and_then(|()| sink.flush()) {
        Ok(()) => code,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => code,
        Err(_) => EXIT_ERROR,
    }
}

/// A mistake in one line: what is wrong, and what to try, or else how the command is called.
fn mistake(usage: &clap::Error) -> String {
    let text = usage.to_string();
    let parts = text.split("\n\n").map(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        words.join(" ")
    });
    let parts: Vec<String> = parts.collect();
    let after = |start| parts.iter().find_map(|part| part.strip_prefix(start));
    let hint = after("tip: ").or_else(|| after("Usage: "));
    let hint = hint.unwrap_or("--help lists the options");
    let wrong = after("error: ").unwrap_or(&text);
    output::escaped(&format!("{wrong} (hint: {hint})")).into_owned()
}
