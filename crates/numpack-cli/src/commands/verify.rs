//! `numpack verify DIR`: what is wrong with a store, and, if asked for, repairing what can be.
use std::io::Write;
use std::path::Path;

use numpack::{Error, Mode, Options, Report, Store};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{self, escaped};

/// What was asked for beside looking.
#[derive(Debug, Clone, Copy, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Wanted {
    pub(super) deep: bool,
    pub(super) repair: bool,
    pub(super) discard_journal: bool,
    pub(super) json: bool,
}

#[derive(Serialize)]
struct Facts {
    path: String,
    ok: bool,
    deep: bool,
    repaired: Vec<String>,
    arrays: usize,
    checked_bytes: u64,
    journal_records: usize,
    problems: Vec<Problem>,
    unchecked: Vec<Unchecked>,
    leftovers: Vec<String>,
}

#[derive(Serialize)]
struct Problem {
    array: Option<String>,
    file: String,
    text: String,
    damage: Option<Damage>,
}

/// Each range from its first to behind its last.
#[derive(Serialize)]
struct Damage {
    blocks: [u64; 2],
    bytes: [u64; 2],
    rows: [u64; 2],
}

#[derive(Serialize)]
struct Unchecked {
    array: String,
    bytes: u64,
    reason: String,
}

pub(super) fn run(dir: &Path, wanted: Wanted, out: &mut dyn Write) -> Result<(), Failure> {
    let repaired = if wanted.repair {
        numpack::repair(dir, &Options::default(), wanted.discard_journal)?
    } else {
        Vec::new()
    };
    let facts = match Store::open(dir, &Options::default().with_mode(Mode::Read)) {
        Ok(store) => {
            let report = store.verify(wanted.deep)?;
            if !wanted.json {
                for done in &repaired {
                    writeln!(out, "repaired: {}", escaped(done))?;
                }
                for line in report.to_string().lines() {
                    writeln!(out, "{}", escaped(line))?;
                }
            }
            Facts::new(&report, repaired)
        }
        // A store that cannot be opened is a finding, not a failure to look.
        Err(error @ (Error::Corrupt { .. } | Error::Format(_))) if wanted.json => {
            Facts::unreadable(dir, wanted.deep, &error)
        }
        Err(error) => return Err(error.into()),
    };
    if wanted.json {
        output::json(out, &facts)?;
    }
    if facts.ok {
        Ok(())
    } else {
        Err(Failure::Found)
    }
}

impl Facts {
    fn new(report: &Report, repaired: Vec<String>) -> Self {
        let problems = report.problems.iter().map(|problem| Problem {
            array: problem.array.clone(),
            file: problem.file.clone(),
            text: problem.text.clone(),
            damage: problem.damage.as_ref().map(|damage| Damage {
                blocks: [damage.blocks.start, damage.blocks.end],
                bytes: [damage.bytes.start, damage.bytes.end],
                rows: [damage.rows.start, damage.rows.end],
            }),
        });
        let unchecked = report.unchecked.iter().map(|unchecked| Unchecked {
            array: unchecked.array.clone(),
            bytes: unchecked.bytes,
            reason: unchecked.reason.clone(),
        });
        Self {
            path: report.path.display().to_string(),
            ok: report.ok(),
            deep: report.deep,
            repaired,
            arrays: report.arrays,
            checked_bytes: report.checked_bytes,
            journal_records: report.journal.as_ref().map_or(0, |(records, _)| *records),
            problems: problems.collect(),
            unchecked: unchecked.collect(),
            leftovers: report.leftovers.clone(),
        }
    }

    fn unreadable(dir: &Path, deep: bool, error: &Error) -> Self {
        Self {
            path: dir.display().to_string(),
            ok: false,
            deep,
            repaired: Vec::new(),
            arrays: 0,
            checked_bytes: 0,
            journal_records: 0,
            problems: vec![Problem {
                array: None,
                file: "metadata.npkm".to_owned(),
                text: error.to_string(),
                damage: None,
            }],
            unchecked: Vec::new(),
            leftovers: Vec::new(),
        }
    }
}
