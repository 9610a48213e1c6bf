//! The one transaction that a batch block ends with.

use numpack::{ArraySnapshot, Mode, Snapshot, Store};
use pyo3::prelude::*;

use crate::array_view::ArrayView;
use crate::errors::{self, detached};
use crate::values::Input;

/// What a block does with one array, as a tuple `(kind, array or name, values)`.
#[derive(FromPyObject)]
pub(crate) struct Step<'py>(String, Bound<'py, PyAny>, Bound<'py, PyAny>);

enum Work<'a> {
    Drop(String),
    Absent(String),
    Rename(String, String),
    Put(String, Input<'a>),
    Update(PyRef<'a, ArrayView>, Input<'a>),
    Attrs(Option<String>, String),
}

enum Ready<'a> {
    Drop(&'a str),
    Absent(&'a str),
    Rename(&'a str, &'a str),
    Put(&'a str, &'a numpack::ArrayMeta, &'a [u8]),
    Update(&'a ArraySnapshot, &'a [u8]),
    Attrs(Option<&'a str>, &'a str),
}

pub(crate) fn batch(
    py: Python<'_>,
    store: &Store,
    bases: &[PyRef<'_, ArrayView>],
    steps: &[Step<'_>],
) -> PyResult<()> {
    let work = steps.iter().map(work).collect::<PyResult<Vec<_>>>()?;
    let ready = work.iter().map(ready).collect::<PyResult<Vec<_>>>()?;
    let base: Snapshot = bases.iter().map(|view| view.snapshot.clone()).collect();
    detached(py, || {
        let mut ready = ready;
        if store.options().mode == Mode::Read {
            // A block that only read is no reason to complain.
            let mut changes = Vec::new();
            for step in ready {
                if !matches!(step, Ready::Update(base, bytes) if unchanged(base, bytes)?) {
                    changes.push(step);
                }
            }
            if changes.is_empty() {
                return Ok(());
            }
            ready = changes;
        }
        let mut change = store.begin_at(&base)?;
        for step in ready {
            match step {
                Ready::Drop(name) => change.drop_array(name)?,
                Ready::Absent(name) => change.require_absent(name)?,
                Ready::Rename(from, to) => change.rename(from, to)?,
                Ready::Put(name, meta, mut bytes) => change.put(name, meta, &mut bytes)?,
                Ready::Update(base, bytes) => change.update(base, bytes)?,
                Ready::Attrs(name, json) => change.set_attrs(name, json)?,
            }
        }
        // The block has seen that there was none: somebody has made one since.
        change.commit().map(drop).map_err(|error| match error {
            numpack::Error::AlreadyExists { name } => numpack::Error::Conflict { name },
            error => error,
        })
    })
}

fn work<'a>(step: &'a Step<'_>) -> PyResult<Work<'a>> {
    let Step(kind, subject, values) = step;
    match kind.as_str() {
        "drop" => Ok(Work::Drop(subject.extract()?)),
        "absent" => Ok(Work::Absent(subject.extract()?)),
        "rename" => Ok(Work::Rename(subject.extract()?, values.extract()?)),
        "attrs" => Ok(Work::Attrs(subject.extract()?, values.extract()?)),
        "put" => {
            let name: String = subject.extract()?;
            let input = Input::any(&name, values)?;
            Ok(Work::Put(name, input))
        }
        "update" => {
            let view: PyRef<'_, ArrayView> = subject.extract()?;
            let input = Input::any(view.snapshot.name().as_str(), values)?;
            Ok(Work::Update(view, input))
        }
        other => Err(errors::raise(
            subject.py(),
            "ArgumentError",
            &format!("no such step: {other}"),
        )),
    }
}

fn ready<'a>(work: &'a Work<'_>) -> PyResult<Ready<'a>> {
    Ok(match work {
        Work::Drop(name) => Ready::Drop(name),
        Work::Absent(name) => Ready::Absent(name),
        Work::Rename(from, to) => Ready::Rename(from, to),
        Work::Put(name, input) => Ready::Put(name, &input.meta, input.bytes()?),
        Work::Attrs(name, json) => Ready::Attrs(name.as_deref(), json),
        Work::Update(view, input) => Ready::Update(&view.snapshot, input.bytes()?),
    })
}

/// Whether `bytes` are the live rows of `base`.
fn unchanged(base: &ArraySnapshot, bytes: &[u8]) -> numpack::Result<bool> {
    let mut rest = bytes;
    for run in base.runs() {
        let old = base.view(run.start..run.start + run.len)?;
        match rest.split_at_checked(old.len()) {
            Some((new, after)) if *new == *old => rest = after,
            _ => return Ok(false),
        }
    }
    Ok(rest.is_empty())
}
