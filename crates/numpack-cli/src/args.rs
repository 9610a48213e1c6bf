//! What may be typed after `numpack`.
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use numpack_convert::Format;

use crate::output::Color;
use crate::rows;

/// Look into NumPack stores: directories of fixed-width arrays.
#[derive(Debug, Parser)]
#[command(name = "numpack", version, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 success, 1 error, 2 usage. ls, info, head, sql, journal, export and\nverify without --repair change nothing in a store."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// When to color: on a terminal (if NO_COLOR is not set), always, or never
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pub(crate) color: Color,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the arrays of a store
    Ls {
        /// The store's directory
        dir: PathBuf,
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Describe a store, or one of its arrays
    Info {
        /// The store's directory
        dir: PathBuf,
        /// The array; without it, the store as a whole
        array: Option<String>,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Show the first rows of a store, or of one of its arrays
    Head {
        /// The store's directory
        dir: PathBuf,
        /// The array; without it, all arrays side by side
        array: Option<String>,
        /// How many rows
        #[arg(short = 'n', long, default_value_t = 10)]
        rows: usize,
        /// Print one JSON array of objects instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Query a store, or a directory of stores, with SQL; without a query, at a prompt
    Sql {
        /// A store, the table `self`; or a directory whose stores are the tables
        path: PathBuf,
        /// The statements, separated by `;`
        #[arg(short = 'c', long = "command", value_name = "QUERY")]
        query: Option<String>,
        /// A file with the statements; - is the standard input
        #[arg(
            short = 'f',
            long = "file",
            value_name = "FILE",
            conflicts_with = "query"
        )]
        script: Option<PathBuf>,
        /// How rows are written
        #[arg(long, value_enum, default_value = "table")]
        format: rows::Format,
        /// Write the rows of the one statement into this file
        #[arg(short = 'o', long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Let statements change what is there: INSERT, UPDATE, DELETE, CREATE TABLE and others
        #[arg(short = 'w', long)]
        write: bool,
        /// The same as --format json
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Look for damage: exit code 0 if nothing is wrong, 1 if something is
    Verify {
        /// The store's directory
        dir: PathBuf,
        /// Read every row, and compare it with its checksum
        #[arg(long)]
        deep: bool,
        /// First repair what can be repaired without losing anything
        #[arg(long)]
        repair: bool,
        /// Give up the commits that wait in the journal, where another program has rewritten the metadata
        #[arg(long, requires = "repair")]
        discard_journal: bool,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Decode the store's journal, record by record, up to the first bad one
    Journal {
        /// The store's directory
        dir: PathBuf,
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Take files over into a store, all of them or none
    Import {
        /// Files: npy, npz, csv, parquet, arrow, arrows
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The store's directory; made if it is not there
        dir: PathBuf,
        /// The array's name, where one is imported
        #[arg(long)]
        name: Option<String>,
        /// Only these columns or entries
        #[arg(long, value_delimiter = ',')]
        columns: Option<Vec<String>>,
        /// Replace arrays of the same name
        #[arg(long)]
        overwrite: bool,
        /// The files' format, whatever their extensions say
        #[arg(long, value_parser = format)]
        format: Option<Format>,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Write arrays into one file
    Export {
        /// The store's directory
        dir: PathBuf,
        /// The file: npy, npz, csv, parquet, arrow, arrows
        file: PathBuf,
        /// Only these arrays, in this order
        #[arg(long, value_delimiter = ',')]
        arrays: Option<Vec<String>>,
        /// The file's format, whatever its extension says
        #[arg(long, value_parser = format)]
        format: Option<Format>,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Write arrays anew without their deleted rows
    Compact {
        /// The store's directory
        dir: PathBuf,
        /// The arrays; without any, all that have deleted rows
        arrays: Vec<String>,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Fold the journal into the files that NumPack 0.4 reads
    Checkpoint {
        /// The store's directory
        dir: PathBuf,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
}

/// A format by its name.
fn format(name: &str) -> Result<Format, String> {
    let names = Format::ALL.map(Format::name);
    let named = Format::ALL.into_iter().find(|format| format.name() == name);
    named.ok_or_else(|| format!("the formats are {}", names.join(", ")))
}
