//! What may be typed after `numpack`.
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Look into NumPack stores: directories of fixed-width arrays.
#[derive(Debug, Parser)]
#[command(name = "numpack", version, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 success, 1 error, 2 usage. Only verify --repair changes a store."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands; each but `verify --repair` opens its store read-only.
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
}
