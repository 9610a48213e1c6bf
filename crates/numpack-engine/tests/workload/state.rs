//! A store as a list of arrays, each a list of rows: what every crash must leave one of.

use std::fmt;

use numpack_engine::{Error, Result, Snapshot, Store};

use super::KINDS;

const NO_ATTRS: &str = "{}";

#[derive(Clone, PartialEq, Eq)]
pub struct Array {
    pub name: String,
    pub width: usize,
    pub rows: Vec<u8>,
    pub attrs: String,
}

/// Arrays in member order.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    arrays: Vec<Array>,
    pub attrs: String,
}

impl Array {
    pub fn len(&self) -> usize {
        self.rows.len() / self.width
    }

    pub fn replace(&mut self, rows: &[usize], data: &[u8]) {
        for (row, new) in rows.iter().zip(data.chunks(self.width)) {
            self.rows[row * self.width..][..self.width].copy_from_slice(new);
        }
    }

    /// `rows` ascend.
    pub fn delete(&mut self, rows: &[usize]) {
        for row in rows.iter().rev() {
            self.rows.drain(row * self.width..(row + 1) * self.width);
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            arrays: Vec::new(),
            attrs: NO_ATTRS.to_owned(),
        }
    }
}

impl State {
    fn place(&self, at: usize) -> Option<usize> {
        at.checked_rem(self.arrays.len())
    }

    pub fn at(&self, at: usize) -> Option<&Array> {
        self.arrays.get(self.place(at)?)
    }

    pub fn at_mut(&mut self, at: usize) -> Option<&mut Array> {
        let place = self.place(at)?;
        self.arrays.get_mut(place)
    }

    pub fn remove(&mut self, at: usize) {
        if let Some(place) = self.place(at) {
            self.arrays.remove(place);
        }
    }

    pub fn drop_if_empty(&mut self, at: usize) {
        if self.at(at).is_some_and(|array| array.len() == 0) {
            self.remove(at);
        }
    }

    pub fn set(&mut self, name: &str, width: usize, rows: Vec<u8>) {
        let new = Array {
            name: name.to_owned(),
            width,
            rows,
            attrs: NO_ATTRS.to_owned(),
        };
        match self.arrays.iter_mut().find(|array| array.name == name) {
            Some(array) => {
                let attrs = std::mem::take(&mut array.attrs);
                *array = Array { attrs, ..new };
            }
            None => self.arrays.push(new),
        }
    }

    pub fn describe(&mut self, name: &str, attrs: &str) {
        for array in &mut self.arrays {
            if array.name == name {
                attrs.clone_into(&mut array.attrs);
            }
        }
    }

    /// The rows of all arrays, one after the other.
    pub fn rows(&self) -> Vec<u8> {
        let rows: Vec<&[u8]> = self.arrays.iter().map(|array| &*array.rows).collect();
        rows.concat()
    }

    /// A name that no array has.
    pub fn free(&self) -> Option<&'static str> {
        let taken = |name: &str| self.arrays.iter().any(|array| array.name == name);
        KINDS.iter().map(|kind| kind.0).find(|name| !taken(name))
    }

    /// A kind whose name is not that of the array at a place.
    pub fn kind_beside(&self, at: usize) -> (&'static str, usize) {
        let name = self.at(at).map_or("", |array| array.name.as_str());
        if KINDS[1].0 == name {
            KINDS[2]
        } else {
            KINDS[1]
        }
    }

    /// What a store shows.
    pub fn of(store: &Store) -> Result<Self> {
        Self::at_moment(&store.snapshot_all()?)
    }

    /// What a snapshot of all arrays shows.
    pub fn at_moment(snapshot: &Snapshot) -> Result<Self> {
        let mut arrays = Vec::new();
        for array in snapshot.arrays() {
            let mut rows = vec![0; array.byte_len()];
            array.read_all(&mut rows)?;
            let shape = array.shape();
            if shape.iter().product::<u64>() != rows.len() as u64 {
                return Err(Error::InvalidArgument(format!(
                    "{} bytes of {shape:?}",
                    rows.len()
                )));
            }
            arrays.push(Array {
                name: array.name().to_string(),
                width: shape.get(1).map_or(1, |&width| width as usize),
                rows,
                attrs: array.attrs().as_str().to_owned(),
            });
        }
        let attrs = snapshot.attrs().as_str().to_owned();
        Ok(Self { arrays, attrs })
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags: Vec<String> = self
            .rows
            .chunks(self.width)
            .map(|row| {
                let even = row
                    .iter()
                    .skip(1)
                    .step_by(2)
                    .all(|byte| *byte == row[row.len() - 1]);
                format!("{:02x}{}", row[row.len() - 1], if even { "" } else { "*" })
            })
            .collect();
        write!(
            f,
            "{:?}x{}[{}]{:.12}",
            self.name,
            self.width,
            tags.join(" "),
            self.attrs
        )
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.12}", self.attrs)?;
        f.debug_list().entries(&self.arrays).finish()
    }
}
