//! `numpack journal DIR`: what the journal says, record by record, and where and why it ends.
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use numpack::JournalDump;
use numpack::journal::{Content, Frame, Header, Hint, Kept, Record};
use serde::Serialize;

use super::ls::shape;
use crate::failure::Failure;
use crate::output::{self, Lean, Style};

/// The header that is in force.
#[derive(Serialize)]
struct HeaderFacts {
    store_id: String,
    epoch: u64,
    base_lsn: u64,
    meta_lsn: u64,
}

impl From<&Header> for HeaderFacts {
    fn from(header: &Header) -> Self {
        Self {
            store_id: hex(&header.store_id),
            epoch: header.epoch,
            base_lsn: header.base_lsn,
            meta_lsn: header.meta_lsn,
        }
    }
}

/// What the last writer told readers; recovery does not rely on it.
#[derive(Serialize)]
struct HintFacts {
    tail: u64,
    last_lsn: u64,
    synced_lsn: u64,
}

impl From<&Hint> for HintFacts {
    fn from(hint: &Hint) -> Self {
        Self {
            tail: hint.tail,
            last_lsn: hint.last_lsn,
            synced_lsn: hint.synced_lsn,
        }
    }
}

/// One record.
#[derive(Serialize)]
struct Line {
    offset: u64,
    lsn: u64,
    /// The record commits together with the next one.
    more: bool,
    kind: &'static str,
    array: Option<String>,
    detail: String,
}

impl Line {
    fn new(offset: u64, frame: &Frame) -> Self {
        let (kind, array, detail) = describe(&frame.record);
        Self {
            offset,
            lsn: frame.lsn,
            more: frame.more,
            kind,
            array,
            detail,
        }
    }
}

#[derive(Serialize)]
struct Dump {
    path: String,
    header: Option<HeaderFacts>,
    hint: Option<HintFacts>,
    records: Vec<Line>,
    end_offset: u64,
    end_reason: String,
}

pub(super) fn run(
    dir: &Path,
    json: bool,
    out: &mut dyn Write,
    style: Style,
) -> Result<(), Failure> {
    let JournalDump {
        header,
        hint,
        frames,
        end: (end_offset, end_reason),
        ..
    } = numpack::dump_journal(dir)?;
    let dump = Dump {
        path: dir.display().to_string(),
        header: header.as_ref().map(HeaderFacts::from),
        hint: hint.as_ref().map(HintFacts::from),
        records: frames
            .iter()
            .map(|(offset, frame)| Line::new(*offset, frame))
            .collect(),
        end_offset,
        end_reason,
    };
    if json {
        return output::json(out, &dump);
    }
    let mut facts = Vec::new();
    if let Some(header) = &dump.header {
        facts.push(("store id", header.store_id.clone()));
        facts.push(("epoch", header.epoch.to_string()));
        facts.push(("base lsn", header.base_lsn.to_string()));
        facts.push(("metadata lsn", header.meta_lsn.to_string()));
    }
    if let Some(hint) = &dump.hint {
        facts.push((
            "hinted lsn",
            format!("{} at offset {}", hint.last_lsn, hint.tail),
        ));
        facts.push(("synced lsn", hint.synced_lsn.to_string()));
    }
    output::facts(out, &facts)?;
    if !dump.records.is_empty() {
        writeln!(out)?;
        let columns = [
            ("OFFSET", Lean::Right),
            ("LSN", Lean::Right),
            ("RECORD", Lean::Left),
            ("ARRAY", Lean::Left),
            ("DETAIL", Lean::Left),
        ];
        let rows = dump.records.iter().map(|line| {
            vec![
                line.offset.to_string(),
                // A plus binds the record to the next one: they commit together.
                format!("{}{}", line.lsn, if line.more { "+" } else { "" }),
                line.kind.to_owned(),
                line.array.clone().unwrap_or_default(),
                line.detail.clone(),
            ]
        });
        output::table(out, style, &columns, rows)?;
    }
    writeln!(out)?;
    Ok(writeln!(
        out,
        "ends at offset {}: {}",
        dump.end_offset,
        output::escaped(&dump.end_reason)
    )?)
}

/// A record's kind, its array and the rest of it.
fn describe(record: &Record) -> (&'static str, Option<String>, String) {
    match record {
        Record::Put(put) => {
            let content = match put.content {
                Content::Hashed(hash) => format!("hash {hash:032x}"),
                Content::Zeros => "zeros".to_owned(),
            };
            let detail = format!(
                "{} {} generation {:016x} {content}{}",
                put.meta.dtype.name(),
                shape(put.meta.shape.dims()),
                put.generation,
                match put.kept {
                    Kept::Nothing => "",
                    Kept::Deletions => " keeping deletions",
                    Kept::All => " moved",
                }
            );
            ("put", Some(put.name.to_string()), detail)
        }
        Record::Append(append) => {
            let detail = format!(
                "rows {}..{} generation {:016x} hash {:032x}",
                append.start_row,
                append.start_row.saturating_add(append.rows),
                append.generation,
                append.hash,
            );
            ("append", Some(append.name.to_string()), detail)
        }
        Record::Replace(replace) => {
            let detail = format!(
                "{} rows in {} runs: {} generation {:016x}",
                replace.count(),
                replace.runs.len(),
                runs(&replace.runs),
                replace.generation,
            );
            ("replace", Some(replace.name.to_string()), detail)
        }
        Record::Applied {
            name,
            generation,
            upto,
        } => {
            let detail = format!("up to lsn {upto} generation {generation:016x}");
            ("applied", Some(name.to_string()), detail)
        }
        Record::DeleteRows(delete) => {
            let rows: u64 = delete.runs.iter().map(|(_, length)| length).sum();
            let detail = format!(
                "{rows} rows in {} runs: {} generation {:016x}",
                delete.runs.len(),
                runs(&delete.runs),
                delete.generation,
            );
            ("delete rows", Some(delete.name.to_string()), detail)
        }
        Record::Drop { name } => ("drop", Some(name.to_string()), String::new()),
        Record::Rename {
            from,
            to,
            generation,
        } => {
            let detail = format!("to {to} generation {generation:016x}");
            ("rename", Some(from.to_string()), detail)
        }
        Record::Attrs { name, attrs } => {
            let detail = format!("{} bytes of JSON", attrs.as_str().len());
            ("attributes", name.as_ref().map(ToString::to_string), detail)
        }
        Record::Synced { upto } => ("synced", None, format!("up to lsn {upto}")),
        _ => ("unknown", None, String::new()),
    }
}

/// The first few runs of rows: `0..3 7..8 ...`.
fn runs(runs: &[(u64, u64)]) -> String {
    const SHOWN: usize = 4;
    let mut text = String::new();
    for (start, length) in runs.iter().take(SHOWN) {
        let _ = write!(text, "{start}..{} ", start.saturating_add(*length));
    }
    if runs.len() > SHOWN {
        text.push_str("...");
    }
    text.truncate(text.trim_end().len());
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
