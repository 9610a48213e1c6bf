//! Stores for the SQL tests, declared in a few lines of text.

use std::fmt;

use arrow::datatypes::{ArrowPrimitiveType, Float16Type};
use numpack::{ArrayMeta, DType, Options, Selection, Shape, Store, Transaction};
use tempfile::TempDir;

/// A declaration that makes no sense or that the store refused.
#[derive(Debug)]
pub(super) struct FixtureError(String);

impl fmt::Display for FixtureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Any error names the line that it came from.
fn at<E: fmt::Display>(line: &str) -> impl FnOnce(E) -> FixtureError {
    move |error| FixtureError(format!("{line}: {error}"))
}

/// Makes a store in a directory of its own from one line an array or deletion.
pub(super) fn new_store(declaration: &str) -> Result<(TempDir, Store), FixtureError> {
    let dir = tempfile::tempdir().map_err(at("new store"))?;
    let path = dir.path().join("fixture.npk");
    let store = Store::open(&path, &Options::default()).map_err(at("new store"))?;
    change_store(&store, declaration)?;
    Ok((dir, store))
}

/// Makes a directory of stores: each `store <name>` begins one, in the lines of [`new_store`].
pub(super) fn new_directory(declaration: &str) -> Result<TempDir, FixtureError> {
    let dir = tempfile::tempdir().map_err(at("new directory"))?;
    for part in declaration.split("store ").skip(1) {
        let (name, arrays) = part.split_once('\n').unwrap_or((part, ""));
        let path = dir.path().join(name.trim());
        let store = Store::open(&path, &Options::default()).map_err(at(name))?;
        change_store(&store, arrays)?;
        store.close().map_err(at(name))?;
    }
    Ok(dir)
}

/// Does what each line says, one commit a line.
pub(super) fn change_store(store: &Store, declaration: &str) -> Result<(), FixtureError> {
    for line in declaration
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let mut change = store.begin().map_err(at(line))?;
        if let Some(rest) = line.strip_prefix("delete from ") {
            let (name, rows) = rest.split_once(' ').ok_or("no rows").map_err(at(line))?;
            delete(&mut change, name, rows, line)?;
        } else if let Some(rows) = line.strip_prefix("delete ") {
            for name in store.names().map_err(at(line))? {
                delete(&mut change, name.as_str(), rows, line)?;
            }
        } else {
            put(&mut change, line)?;
        }
        change.commit().map_err(at(line))?;
    }
    Ok(())
}

/// `3 4` or `0..100` or `0..100..2`.
fn delete(
    change: &mut Transaction<'_>,
    name: &str,
    rows: &str,
    line: &str,
) -> Result<(), FixtureError> {
    let mut selected = Vec::new();
    for part in rows.split_whitespace() {
        let numbers: Result<Vec<i64>, _> = part.split("..").map(str::parse).collect();
        match numbers.map_err(at(line))?[..] {
            [row] => selected.push(row),
            [start, end] => selected.extend(start..end),
            [start, end, step] => {
                let step = usize::try_from(step).map_err(at(line))?;
                selected.extend((start..end).step_by(step));
            }
            _ => return Err(at(line)("neither a row nor a range")),
        }
    }
    change
        .delete_rows(name, Selection::Rows(selected))
        .map_err(at(line))
}

/// `emb float32 [10, 4] i / 2`: name, dtype, shape, value at flat position `i`.
fn put(change: &mut Transaction<'_>, line: &str) -> Result<(), FixtureError> {
    let form = "not of the form: name dtype [shape] i";
    let (head, tail) = line.split_once('[').ok_or(form).map_err(at(line))?;
    let (dims, formula) = tail.split_once(']').ok_or(form).map_err(at(line))?;
    let (name, dtype) = head.trim().rsplit_once(' ').ok_or(form).map_err(at(line))?;
    let dtype = DType::from_name(dtype).map_err(at(line))?;
    let dims: Result<Vec<u64>, _> = dims
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty())
        .map(str::parse)
        .collect();
    let shape = Shape::new(&dims.map_err(at(line))?, dtype).map_err(at(line))?;
    let formula = Formula::parse(formula.trim())
        .ok_or(form)
        .map_err(at(line))?;

    let mut bytes = Vec::new();
    for i in 0..shape.len() {
        formula.encode(i, dtype, &mut bytes);
    }
    let meta = ArrayMeta { dtype, shape };
    change
        .put(name.trim(), &meta, &mut bytes.as_slice())
        .map_err(at(line))
}

/// The value at flat position `i`.
enum Formula {
    Index,
    Over(u64),
    Modulo(u64),
}

impl Formula {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('i')?.trim();
        if rest.is_empty() {
            return Some(Self::Index);
        }
        let (operator, number) = rest.split_at(1);
        let number = number.trim().parse().ok()?;
        match operator {
            "/" => Some(Self::Over(number)),
            "%" => Some(Self::Modulo(number)),
            _ => None,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        reason = "values wrap into small dtypes, as NumPy's astype does"
    )]
    fn encode(&self, i: u64, dtype: DType, out: &mut Vec<u8>) {
        let integer = match self {
            Self::Index => i,
            Self::Over(n) => i / n,
            Self::Modulo(n) => i % n,
        };
        let real = match self {
            Self::Over(n) => i as f64 / *n as f64,
            _ => integer as f64,
        };
        match dtype {
            DType::Bool => out.push(u8::from(integer != 0)),
            DType::UInt8 => out.extend((integer as u8).to_le_bytes()),
            DType::UInt16 => out.extend((integer as u16).to_le_bytes()),
            DType::UInt32 => out.extend((integer as u32).to_le_bytes()),
            DType::UInt64 => out.extend(integer.to_le_bytes()),
            DType::Int8 => out.extend((integer as i8).to_le_bytes()),
            DType::Int16 => out.extend((integer as i16).to_le_bytes()),
            DType::Int32 => out.extend((integer as i32).to_le_bytes()),
            DType::Int64 => out.extend((integer as i64).to_le_bytes()),
            DType::Float16 => {
                let half = <Float16Type as ArrowPrimitiveType>::Native::from_f64(real);
                out.extend(half.to_le_bytes());
            }
            DType::Float32 => out.extend((real as f32).to_le_bytes()),
            DType::Float64 => out.extend(real.to_le_bytes()),
            DType::Complex64 => {
                out.extend((real as f32).to_le_bytes());
                out.extend((-real as f32).to_le_bytes());
            }
            DType::Complex128 => {
                out.extend(real.to_le_bytes());
                out.extend((-real).to_le_bytes());
            }
        }
    }
}
