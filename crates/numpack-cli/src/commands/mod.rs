//! One file a command.
mod info;
mod journal;
mod ls;
mod verify;

use std::io::Write;
use std::path::Path;

use numpack::{Mode, Options, Store};

use crate::args::Command;
use crate::failure::Failure;
use crate::output::Style;

/// Runs the command that was typed.
pub(crate) fn run(command: &Command, out: &mut dyn Write, style: Style) -> Result<(), Failure> {
    match command {
        Command::Ls { dir, json } => ls::run(dir, *json, out, style),
        Command::Info {
            dir,
            array: None,
            json,
        } => info::store(dir, *json, out),
        Command::Info {
            dir,
            array: Some(array),
            json,
        } => info::array(dir, array, *json, out),
        Command::Verify {
            dir,
            deep,
            repair,
            discard_journal,
            json,
        } => {
            let wanted = verify::Wanted {
                deep: *deep,
                repair: *repair,
                discard_journal: *discard_journal,
                json: *json,
            };
            verify::run(dir, wanted, out)
        }
        Command::Journal { dir, json } => journal::run(dir, *json, out, style),
    }
}

/// Opens a store such that nothing in it can change.
fn open(dir: &Path) -> Result<Store, Failure> {
    Ok(Store::open(dir, &Options::default().with_mode(Mode::Read))?)
}
