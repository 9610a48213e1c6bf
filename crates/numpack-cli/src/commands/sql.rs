//! `numpack sql PATH` and `numpack head DIR [ARRAY]`: rows by queries.
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use numpack::Store;
use numpack::datafusion::{Connection, ConnectionOptions, Params, SqlError};

use crate::cancel::Cancel;
use crate::failure::Failure;
use crate::output::{self, Style, escaped};
use crate::rows::{self, Format};
use crate::{prompt, statements};

/// What `numpack sql` was asked for.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) path: &'a Path,
    /// Whether statements may change what is there.
    pub(super) write: bool,
    pub(super) query: Option<&'a str>,
    pub(super) script: Option<&'a Path>,
    pub(super) format: Format,
    pub(super) file: Option<&'a PathBuf>,
}

pub(super) fn run(wanted: &Wanted<'_>, out: &mut dyn Write, style: Style) -> Result<(), Failure> {
    let typed = wanted.query.is_none() && wanted.script.is_none() && std::io::stdin().is_terminal();
    if typed && wanted.file.is_some() {
        return Err(Failure::Usage(
            "-o writes the rows of one statement, not of a prompt (hint: -c QUERY or -f FILE gives it)"
                .to_owned(),
        ));
    }
    if wanted.format == Format::Parquet && wanted.file.is_none() {
        return Err(Failure::Usage(
            "parquet is no text (hint: -o FILE names the file to write)".to_owned(),
        ));
    }
    let cancel = Cancel::default();
    let (connection, store) = connect(wanted, &cancel)?;
    let ran = run_over(wanted, typed, &connection, &cancel, out, style);
    let closed = connection.close().map_err(Failure::from);
    let stored = store.map_or(Ok(()), |store| store.close().map_err(Failure::from));
    ran.and(closed).and(stored)
}

fn run_over(
    wanted: &Wanted<'_>,
    typed: bool,
    connection: &Connection,
    cancel: &Cancel,
    out: &mut dyn Write,
    style: Style,
) -> Result<(), Failure> {
    let sql = match (wanted.query, wanted.script) {
        (Some(query), _) => query.to_owned(),
        (None, Some(script)) if script != Path::new("-") => numpack_convert::read_text(script)?,
        (None, None) if typed => {
            return prompt::run(connection, cancel, wanted.format, out, style);
        }
        (None, _) => {
            let mut sql = String::new();
            std::io::stdin().read_to_string(&mut sql).map_err(|error| {
                Failure::Request(format!("cannot read the statements from stdin: {error}"))
            })?;
            sql
        }
    };
    // Some editors begin a text with a mark of its encoding.
    let statements = statements::all(sql.trim_start_matches('\u{feff}'));
    match (statements.as_slice(), wanted.file) {
        ([], _) => Err(Failure::Usage(
            "there is no statement (hint: -c \"SELECT * FROM self\")".to_owned(),
        )),
        ([statement], Some(file)) => {
            let rows = connection.sql(statement, Params::default())?.rows()?;
            let count = rows::write_file(rows, wanted.format, file)?;
            let count = output::row_count(count);
            let file = file.display().to_string();
            Ok(writeln!(out, "wrote {count} to {}", escaped(&file))?)
        }
        (several, Some(_)) => Err(Failure::Usage(format!(
            "-o writes the rows of one statement, and there are {} (hint: run the others first)",
            several.len()
        ))),
        (several, None) => {
            for (at, statement) in several.iter().enumerate() {
                let rows = connection.sql(statement, Params::default())?.rows()?;
                // Each JSON document has a line of its own anyway.
                if at > 0 && wanted.format != Format::Json {
                    writeln!(out)?;
                }
                rows::write(rows, wanted.format, out, style)?;
            }
            Ok(())
        }
    }
}

/// A connection over the store at `path`, which comes with it, or over a directory of them.
fn connect(wanted: &Wanted<'_>, cancel: &Cancel) -> Result<(Connection, Option<Store>), Failure> {
    let asked = cancel.clone();
    let options = ConnectionOptions::default()
        .with_read_only(!wanted.write)
        .with_interrupt(Arc::new(move || asked.wanted()));
    let path = wanted.path;
    if !Store::exists(path) && path.is_dir() {
        return Ok((Connection::over_directory(path, options)?, None));
    }
    let store = if wanted.write {
        super::open_to_change(path)?
    } else {
        super::open(path)?
    };
    Ok((Connection::over(&store, options)?, Some(store)))
}

/// The first rows of a store, or of one array.
pub(super) fn head(
    dir: &Path,
    array: Option<&str>,
    count: usize,
    format: Format,
    out: &mut dyn Write,
    style: Style,
) -> Result<(), Failure> {
    let store = super::open(dir)?;
    let options = ConnectionOptions::default();
    let connection = match array {
        None => Connection::over(&store, options)?,
        Some(name) => {
            let infos = store.infos()?;
            if super::info::found(&infos, name)?.shape.is_empty() {
                return Err(Failure::Request(format!(
                    "array \"{name}\" is 0-d: it has no rows (hint: `numpack export DIR FILE.npy \
                     --arrays {name}` writes its value)"
                )));
            }
            Connection::over_arrays(&store, vec![name.to_owned()], options)?
        }
    };
    let query = connection.sql("SELECT * FROM self", Params::default());
    let query = query.map_err(|error| match error {
        SqlError::UnequalRows { lengths, .. } => Failure::Request(format!(
            "arrays of unequal length are not one table: {lengths} (hint: name one of them)"
        )),
        other => other.into(),
    })?;
    rows::write(query.first(count)?.rows()?, format, out, style)?;
    Ok(())
}
