//! SQL at a terminal.
mod history;
mod words;

use std::io::Write;
use std::time::Instant;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use numpack::datafusion::{Connection, Params};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use self::words::Words;
use crate::cancel::Cancel;
use crate::failure::Failure;
use crate::output::{self, Style};
use crate::rows::{self, Format};
use crate::statements;

const HELP: &str = "\
A statement ends with ; and may take several lines.
.tables          the tables
.schema [TABLE]  the columns of all tables, or of one
.help            this text
.quit or \\q      leave, as Ctrl-D does
Ctrl-C clears the line, or stops the query that runs. Tab completes.";

const TABLES: &str = "SELECT table_schema, table_name FROM information_schema.tables \
     WHERE table_schema <> 'information_schema' ORDER BY table_schema, table_name";
const COLUMNS: &str = "SELECT table_name, column_name, data_type FROM information_schema.columns \
     WHERE table_schema = 'public' ORDER BY table_name, ordinal_position";
const NAMES: &str = "SELECT table_name FROM information_schema.columns \
     WHERE table_schema <> 'information_schema' \
     UNION SELECT column_name FROM information_schema.columns \
     WHERE table_schema <> 'information_schema' ORDER BY 1";

/// What is typed at.
struct Prompt<'a> {
    connection: &'a Connection,
    cancel: &'a Cancel,
    format: Format,
    out: &'a mut dyn Write,
    style: Style,
}

/// Reads statements and shows their rows, until the end of input.
pub(crate) fn run(
    connection: &Connection,
    cancel: &Cancel,
    format: Format,
    out: &mut dyn Write,
    style: Style,
) -> Result<(), Failure> {
    let config = Config::builder()
        .auto_add_history(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::<Words<'_>, FileHistory>::with_config(config).map_err(terminal)?;
    // A store of which no names can be listed can still be queried.
    let names = || names(connection).unwrap_or_default();
    editor.set_helper(Some(Words::new(Box::new(names))));
    let history = history::file();
    if let Some(file) = &history {
        // There is none before the first session.
        let _ = editor.load_history(file);
    }
    let mut prompt = Prompt {
        connection,
        cancel,
        format,
        out,
        style,
    };
    // For the whole session: a Ctrl-C that comes a moment too late must not end it.
    let _watch = cancel.watch()?;
    writeln!(prompt.out, "SQL over NumPack stores; .help says more")?;
    prompt.out.flush()?;
    loop {
        let typed = match editor.readline("numpack> ") {
            Ok(typed) => typed,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(terminal(error)),
        };
        if let Some(file) = &history {
            // Not being remembered is no reason to stop.
            let _ = editor.append_history(file);
        }
        if matches!(typed.trim(), "\\q" | ".quit" | ".exit") {
            break;
        }
        prompt.take(&typed)?;
        if let Some(words) = editor.helper_mut() {
            words.forget();
        }
    }
    Ok(())
}

impl Prompt<'_> {
    /// Does what was typed; only an output that cannot be written is an error.
    fn take(&mut self, typed: &str) -> Result<(), Failure> {
        let typed = typed.trim();
        let (command, rest) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
        let table = rest.trim().trim_end_matches(';');
        match command.trim_end_matches(';') {
            ".help" => writeln!(self.out, "{HELP}")?,
            ".tables" => self.statement(TABLES, Format::Table)?,
            ".schema" if table.is_empty() => self.statement(COLUMNS, Format::Table)?,
            ".schema" => self.statement(&format!("DESCRIBE {table}"), Format::Table)?,
            other if other.starts_with(['.', '\\']) => {
                writeln!(
                    self.out,
                    "there is no command {} (hint: .help lists them)",
                    output::escaped(other)
                )?;
            }
            _ => {
                for statement in statements::all(typed) {
                    self.statement(statement, self.format)?;
                }
            }
        }
        Ok(self.out.flush()?)
    }

    fn statement(&mut self, sql: &str, format: Format) -> Result<(), Failure> {
        let start = Instant::now();
        self.cancel.forget();
        let rows = self.connection.sql(sql, Params::default());
        let rows = rows.and_then(|query| query.rows());
        let shown = rows
            .map_err(Failure::from)
            .and_then(|rows| rows::write(rows, format, self.out, self.style));
        match shown {
            Ok(count) => {
                let rows = output::row_count(count);
                let seconds = start.elapsed().as_secs_f64();
                writeln!(self.out, "{rows} in {seconds:.3} s")?;
            }
            Err(Failure::Output(error)) => return Err(error.into()),
            Err(failure) => {
                writeln!(self.out, "{} {failure}", self.style.error("error:"))?;
            }
        }
        Ok(())
    }
}

/// The names of all tables and columns.
fn names(connection: &Connection) -> Result<Vec<String>, Failure> {
    let result = connection.sql(NAMES, Params::default())?.collect()?;
    let mut names = Vec::new();
    for batch in &result.batches {
        if let Some(column) = batch.column(0).as_string_opt::<i32>() {
            let valid = (0..column.len()).filter(|&row| column.is_valid(row));
            names.extend(valid.map(|row| column.value(row).to_owned()));
        }
    }
    Ok(names)
}

fn terminal(error: ReadlineError) -> Failure {
    match error {
        ReadlineError::Io(error) => Failure::Output(error),
        other => Failure::Request(format!("the terminal cannot be read: {other}")),
    }
}
