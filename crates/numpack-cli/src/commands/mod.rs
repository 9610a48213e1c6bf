//! One file a command.
mod convert;
mod info;
mod journal;
mod ls;
mod sql;
mod tidy;
mod verify;

use std::io::Write;
use std::path::Path;

use numpack::{Mode, Options, Store};
use numpack_convert::{ExportOptions, ImportOptions};

use crate::args::Command;
use crate::failure::Failure;
use crate::output::Style;
use crate::rows::Format;

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
        Command::Head {
            dir,
            array,
            rows,
            json,
        } => sql::head(dir, array.as_deref(), *rows, table_or(*json), out, style),
        Command::Sql {
            path,
            query,
            script,
            format,
            output,
            write,
            json,
        } => {
            let wanted = sql::Wanted {
                path,
                write: *write,
                query: query.as_deref(),
                script: script.as_deref(),
                format: if *json { Format::Json } else { *format },
                file: output.as_ref(),
            };
            sql::run(&wanted, out, style)
        }
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
        Command::Import {
            files,
            dir,
            name,
            columns,
            overwrite,
            format,
            json,
        } => {
            let options = ImportOptions {
                format: *format,
                name: name.clone(),
                columns: columns.clone(),
                overwrite: *overwrite,
            };
            convert::import(files, dir, &options, *json, out)
        }
        Command::Export {
            dir,
            file,
            arrays,
            format,
            json,
        } => {
            let options = ExportOptions {
                format: *format,
                arrays: arrays.clone(),
            };
            convert::export(dir, file, &options, *json, out)
        }
        Command::Compact { dir, arrays, json } => tidy::compact(dir, arrays, *json, out),
        Command::Checkpoint { dir, json } => tidy::checkpoint(dir, *json, out),
    }
}

fn table_or(json: bool) -> Format {
    if json { Format::Json } else { Format::Table }
}

/// Opens a store such that nothing in it can change.
fn open(dir: &Path) -> Result<Store, Failure> {
    Ok(Store::open(dir, &Options::default().with_mode(Mode::Read))?)
}

/// Opens a store that is there so that it can be changed.
fn open_to_change(dir: &Path) -> Result<Store, Failure> {
    if !Store::exists(dir) {
        return open(dir);
    }
    Ok(Store::open(dir, &Options::default())?)
}
