//! Operations on a store, each with what it does to a plain list of arrays, and sessions that run them
//! on a recorded disk.

mod session;
mod state;

use numpack_engine::{Durability, Result, Selection, Store};

use crate::kit::bytes;
pub use session::{Recorded, Session, open, open_within, tight};
pub use state::{Array, State};

/// Names and bytes of a row: rows that tear, rows that share a sector, and a name that is escaped.
pub const KINDS: [(&str, usize); 6] = [
    ("a", 700),
    ("b", 3),
    ("c/d", 1300),
    ("e", 513),
    ("label", 1),
    ("zeros", 64),
];

/// An operation. Arrays are given by their place among those that are there, so that every sequence
/// of operations means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Saves an array of a kind with so many rows, over the old one if there is one.
    Save(usize, usize),
    /// Saves over the array at a place.
    Over(usize, usize),
    /// Makes an array of zeros.
    Create(usize, usize),
    Append(usize, usize),
    /// The same, on disk when it returns, whatever the level of the store.
    AppendFull(usize, usize),
    Replace(usize, Vec<usize>),
    Delete(usize, Vec<usize>),
    Clear(usize),
    Drop(usize),
    /// Renames the array at a place to the first kind that is free.
    Rename(usize),
    Copy(usize),
    Compact(usize),
    /// Changes a byte of the array at a place through a base snapshot.
    Update(usize),
    /// Several changes in one commit: a new array, rows appended to another, some deleted, one replaced.
    Together(usize),
    /// Gives the array at a place other attributes.
    Describe(usize),
    /// Gives the store other attributes.
    DescribeAll,
    Sync,
    Checkpoint,
    Reopen,
    /// Takes a view and keeps it.
    View(usize),
    /// Lets go of all views.
    LetGo,
}

impl Op {
    /// Whether everything is on disk when this returns.
    pub fn is_safe(&self) -> bool {
        matches!(self, Self::Sync | Self::Checkpoint | Self::Reopen)
    }
}

/// Rows that no other call with another seed gives.
fn fresh(rows: usize, width: usize, seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows * width);
    for row in 0..rows as u64 {
        let tag = ((seed + 1) * 251 + row * 13) as u8;
        let start = out.len();
        out.resize(start + width, tag);
        for at in (start..start + width).step_by(97) {
            out[at] = out[at].wrapping_add((at - start) as u8 ^ seed as u8);
        }
    }
    out
}

/// Attributes that no other call with another seed gives, of a length that crosses sectors now and then.
fn described(seed: u64) -> String {
    let text = "x".repeat((seed as usize * 91) % 700);
    format!("{{\"seed\":{seed},\"text\":\"{text}\"}}")
}

fn dims(bytes: &[u8], width: usize) -> [u64; 2] {
    [(bytes.len() / width) as u64, width as u64]
}

fn indices(rows: &[usize], count: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = rows.iter().map(|row| row % count.max(1)).collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

fn selection(rows: &[usize]) -> Selection {
    Selection::Rows(rows.iter().map(|&row| row as i64).collect())
}

/// Does `op` to `store` and gives what `state` becomes; `None` if nothing is to be done.
pub fn plan(op: &Op, state: &State, seed: u64) -> Option<State> {
    let mut after = state.clone();
    match op {
        Op::Save(kind, rows) | Op::Create(kind, rows) => {
            let (name, width) = KINDS[*kind];
            let data = match op {
                Op::Create(..) => vec![0; rows * width],
                _ => fresh(*rows, width, seed),
            };
            after.set(name, width, data);
        }
        Op::Over(at, rows) => {
            let array = after.at_mut(*at)?;
            array.rows = fresh(*rows, array.width, seed);
        }
        Op::Append(at, rows) | Op::AppendFull(at, rows) => {
            let array = after.at_mut(*at)?;
            array.rows.extend(fresh(*rows, array.width, seed));
        }
        Op::Replace(at, rows) => {
            let array = after.at_mut(*at)?;
            let rows = indices(rows, array.len());
            let data = fresh(rows.len(), array.width, seed);
            if array.len() == 0 {
                return None;
            }
            array.replace(&rows, &data);
        }
        Op::Delete(at, rows) => {
            let array = after.at_mut(*at)?;
            if array.len() == 0 {
                return None;
            }
            array.delete(&indices(rows, array.len()));
            after.drop_if_empty(*at);
        }
        Op::Clear(at) => after.at_mut(*at)?.rows.clear(),
        Op::Drop(at) => {
            after.at_mut(*at)?;
            after.remove(*at);
        }
        Op::Rename(at) => {
            let free = after.free()?;
            free.clone_into(&mut after.at_mut(*at)?.name);
        }
        Op::Copy(at) => {
            let free = after.free()?;
            let array = after.at_mut(*at)?.clone();
            after.set(free, array.width, array.rows);
            after.describe(free, &array.attrs);
        }
        Op::Update(at) => {
            let array = after.at_mut(*at)?;
            let len = array.rows.len();
            array
                .rows
                .get_mut(seed as usize * 37 % len.max(1))
                .map(|byte| *byte ^= 0x55)?;
        }
        Op::Together(at) => {
            let array = after.at_mut(*at)?;
            array.rows.extend(fresh(2, array.width, seed));
            let last = array.len() - 1;
            let data = fresh(1, array.width, seed + 1);
            array.replace(&[last], &data);
            array.delete(&[0]);
            let (name, width) = after.kind_beside(*at);
            after.set(name, width, fresh(2, width, seed + 2));
        }
        Op::Compact(at) => {
            after.at_mut(*at)?;
        }
        Op::Describe(at) => after.at_mut(*at)?.attrs = described(seed),
        Op::DescribeAll => after.attrs = described(seed),
        Op::Sync | Op::Checkpoint | Op::Reopen | Op::View(_) | Op::LetGo => return None,
    }
    Some(after)
}

/// Does `op`, which [`plan`] has found possible on `state`, to a store in that state.
pub fn perform(op: &Op, store: &Store, state: &State, seed: u64) -> Result<()> {
    let data;
    let more;
    let mut t = store.begin()?;
    let name = |at: usize| state.at(at).map_or("", |array| array.name.as_str());
    let width = |at: usize| state.at(at).map_or(1, |array| array.width);
    match op {
        Op::Save(kind, rows) => {
            let (name, width) = KINDS[*kind];
            data = fresh(*rows, width, seed);
            t.put(name, &bytes(&dims(&data, width)), &mut &*data)?;
        }
        Op::Create(kind, rows) => {
            let (name, width) = KINDS[*kind];
            t.create(name, &bytes(&[*rows as u64, width as u64]))?;
        }
        Op::Over(at, rows) => {
            data = fresh(*rows, width(*at), seed);
            t.put(name(*at), &bytes(&dims(&data, width(*at))), &mut &*data)?;
        }
        Op::Append(at, rows) | Op::AppendFull(at, rows) => {
            data = fresh(*rows, width(*at), seed);
            t.append(name(*at), &bytes(&dims(&data, width(*at))), &data)?;
        }
        Op::Replace(at, rows) => {
            let rows = indices(rows, state.at(*at).map_or(0, Array::len));
            data = fresh(rows.len(), width(*at), seed);
            let meta = bytes(&dims(&data, width(*at)));
            t.replace(name(*at), selection(&rows), &meta, &data)?;
        }
        Op::Delete(at, rows) => {
            let rows = indices(rows, state.at(*at).map_or(0, Array::len));
            t.delete_rows(name(*at), selection(&rows))?;
        }
        Op::Clear(at) => t.clear_rows(name(*at))?,
        Op::Drop(at) => t.drop_array(name(*at))?,
        Op::Rename(at) => t.rename(name(*at), state.free().unwrap_or(""))?,
        Op::Copy(at) => t.copy_array(name(*at), state.free().unwrap_or(""))?,
        Op::Compact(at) => t.compact(name(*at))?,
        Op::Describe(at) => t.set_attrs(Some(name(*at)), &described(seed))?,
        Op::DescribeAll => t.set_attrs(None, &described(seed))?,
        Op::Update(at) => {
            let base = store.array(name(*at))?;
            let after = plan(op, state, seed).unwrap_or_default();
            data = after.at(*at).map_or(Vec::new(), |array| array.rows.clone());
            t.update(&base, &data)?;
        }
        Op::Together(at) => {
            let width = width(*at);
            data = fresh(2, width, seed);
            more = fresh(1, width, seed + 1);
            t.append(name(*at), &bytes(&dims(&data, width)), &data)?;
            t.replace(
                name(*at),
                Selection::Row(-1),
                &bytes(&[1, width as u64]),
                &more,
            )?;
            t.delete_rows(name(*at), Selection::Row(0))?;
            let (beside, width) = state.kind_beside(*at);
            let new = fresh(2, width, seed + 2);
            t.put(beside, &bytes(&dims(&new, width)), &mut &*new)?;
        }
        Op::Sync | Op::Checkpoint | Op::Reopen | Op::View(_) | Op::LetGo => {}
    }
    match op {
        Op::AppendFull(..) => t.commit_with(Durability::Full),
        _ => t.commit(),
    }
    .map(|_| ())
}
