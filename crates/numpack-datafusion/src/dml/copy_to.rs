//! `COPY ... TO`, all or nothing: DataFusion writes into a hidden directory beside the target, and what
//! lies there when it is done moves to the target.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use datafusion::datasource::listing::ListingTableUrl;
use datafusion::logical_expr::dml::CopyTo;
use datafusion::logical_expr::{Analyze, LogicalPlan};
use numpack_engine::{Error as EngineError, Store};

use crate::error::{Result, SqlError};
use crate::place::expect_local;

/// A COPY TO on its way; when it is dropped, nothing stays behind.
#[derive(Debug)]
pub(crate) struct Beside {
    target: PathBuf,
    hidden: PathBuf,
    /// Whether the target is a directory that files are put into.
    into: bool,
}

impl Beside {
    /// A plan that runs a COPY TO as one that writes beside the target; None for every other plan.
    pub(crate) fn of(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Self)>> {
        match plan {
            LogicalPlan::Copy(copy) => {
                let beside = Self::new(copy)?;
                let copy = CopyTo {
                    output_url: beside.url(),
                    ..copy.clone()
                };
                Ok(Some((LogicalPlan::Copy(copy), beside)))
            }
            LogicalPlan::Analyze(analyze) => {
                Ok(Self::of(&analyze.input)?.map(|(input, beside)| {
                    let analyze = Analyze {
                        input: Arc::new(input),
                        ..analyze.clone()
                    };
                    (LogicalPlan::Analyze(analyze), beside)
                }))
            }
            _ => Ok(None),
        }
    }

    fn new(copy: &CopyTo) -> Result<Self> {
        let text = copy.output_url.as_str();
        let statement = format!("COPY TO '{text}'");
        expect_local(text, || statement.clone())?;
        let target = target(text)?;
        if let Some(store) = target.ancestors().find(|path| Store::exists(path)) {
            return Err(SqlError::Usage(format!(
                "{statement}: \"{}\" is a store, which holds nothing but its own files",
                store.display()
            )));
        }
        let into = is_directory(text, &target, copy);
        if target.exists() && target.is_dir() != into {
            return Err(SqlError::Usage(if into {
                format!(
                    "{statement}: there is a file, and files in a directory would be written; one file \
                     has an ending, such as .csv"
                )
            } else {
                format!("{statement}: there is a directory, and one file would be written")
            }));
        }
        let hidden = hidden(&nearest(&target));
        fs::create_dir(&hidden).map_err(|error| failed("write into", &hidden, error))?;
        Ok(Self {
            target,
            hidden,
            into,
        })
    }

    /// What DataFusion writes: a file called like the target, for its ending says whether it is one
    /// file and of what kind.
    fn url(&self) -> String {
        let mut url = file_url(&self.hidden);
        url.push('/');
        if !self.into {
            let name = self.target.file_name().unwrap_or_default();
            url.push_str(&escaped(Path::new(name)));
        }
        url
    }

    /// Puts what was written in place.
    pub(crate) fn settle(self) -> Result<()> {
        if let Some(parent) = self.target.parent() {
            fs::create_dir_all(parent).map_err(|error| failed("create", parent, error))?;
        }
        if self.into {
            return move_all(&self.hidden, &self.target);
        }
        let name = self.target.file_name().unwrap_or_default();
        rename(&self.hidden.join(name), &self.target)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Whoever made the statement fail has the error that matters.
        let _left_behind = fs::remove_dir_all(&self.hidden);
    }
}

/// The path that the statement names, through links.
fn target(text: &str) -> Result<PathBuf> {
    let path = if text.starts_with("file:/") {
        PathBuf::from(format!("/{}", ListingTableUrl::parse(text)?.prefix()))
    } else {
        std::path::absolute(text).map_err(|error| failed("find", Path::new(text), error))?
    };
    Ok(fs::canonicalize(&path).unwrap_or(path))
}

/// Whether files of names of their own are written into a directory, as DataFusion decides it.
fn is_directory(text: &str, target: &Path, copy: &CopyTo) -> bool {
    if !copy.partition_by.is_empty() {
        return true;
    }
    match option(&copy.options, "single_file_output") {
        Some("true") => false,
        Some("false") => true,
        _ => text.ends_with('/') || target.is_dir() || !has_ending(target),
    }
}

fn has_ending(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.contains('.') && !name.ends_with('.'))
}

fn option<'a>(options: &'a HashMap<String, String>, key: &str) -> Option<&'a str> {
    options.get(key).map(|value| value.trim())
}

/// The target, or what is the first to be created on the way to it: what lies beside that is on the
/// same file system.
fn nearest(target: &Path) -> PathBuf {
    let ancestors = || target.ancestors();
    let mut steps = ancestors().zip(ancestors().skip(1));
    let first = steps.find(|(_, parent)| parent.is_dir());
    first.map_or(target, |(path, _)| path).to_path_buf()
}

/// A name beside `path` that nothing has yet, and that is no table: names with a dot in front are none.
fn hidden(path: &Path) -> PathBuf {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let (name, process) = (name.unwrap_or_default(), std::process::id());
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.new-{process}-{number}"))
}

fn file_url(path: &Path) -> String {
    format!("file://{}", escaped(path))
}

/// A path as a URL has it. A plain path would be read as a pattern where it holds `*`, `?` or `[`.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    text
}

/// Moves what a directory holds; the files join those that are there, for their names are new.
fn move_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|error| failed("create", to, error))?;
    let entries = fs::read_dir(from).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.map_err(|error| failed("read", from, error))? {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            move_all(&from, &to)?;
        } else {
            rename(&from, &to)?;
        }
    }
    Ok(())
}

/// A digit of base 16.
fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0')
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| failed("write", to, error))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> SqlError {
    let path = path.to_path_buf();
    SqlError::Engine(EngineError::Io {
        action,
        path,
        source,
    })
}
