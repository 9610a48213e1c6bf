//! `numpack compact DIR [ARRAY...]` and `numpack checkpoint DIR`.
use std::io::Write;
use std::path::Path;

use numpack::{Mode, Options, Store};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{self, escaped};

#[derive(Serialize)]
struct Done {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    compacted: Option<Vec<String>>,
}

/// Opens a store that must be there, to change it.
fn open(dir: &Path) -> Result<Store, Failure> {
    Ok(Store::open(
        dir,
        &Options::default().with_mode(Mode::ReadWrite),
    )?)
}

pub(super) fn compact(
    dir: &Path,
    arrays: &[String],
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let store = open(dir)?;
    let names: Vec<String> = if arrays.is_empty() {
        let infos = store.infos()?;
        let holed = infos.iter().filter(|info| info.deleted > 0);
        holed.map(|info| info.name.to_string()).collect()
    } else {
        arrays.to_vec()
    };
    let mut change = store.begin()?;
    for name in &names {
        change.compact(name)?;
    }
    change.commit()?;
    store.close()?;
    if json {
        let path = dir.display().to_string();
        let compacted = Some(names);
        return output::json(out, &Done { path, compacted });
    }
    for name in names {
        writeln!(out, "compacted {}", escaped(&name))?;
    }
    Ok(())
}

pub(super) fn checkpoint(dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let store = open(dir)?;
    store.checkpoint()?;
    store.close()?;
    if json {
        let path = dir.display().to_string();
        let compacted = None;
        return output::json(out, &Done { path, compacted });
    }
    let path = dir.display().to_string();
    Ok(writeln!(out, "checkpoint of {} done", escaped(&path))?)
}
