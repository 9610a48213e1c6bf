//! A store as a list of arrays, each a list of rows: what every crash must leave one of.

use std::fmt;

use numpack_engine::{Error, Result, Store};

use super::KINDS;

#[derive(Clone, PartialEq, Eq)]
pub struct Array {
    pub name: String,
    pub width: usize,
    pub rows: Vec<u8>,
}

/// Arrays in member order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State(Vec<Array>);

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

impl State {
    fn place(&self, at: usize) -> Option<usize> {
        at.checked_rem(self.0.len())
    }

    pub fn at(&self, at: usize) -> Option<&Array> {
        self.0.get(self.place(at)?)
    }

    pub fn at_mut(&mut self, at: usize) -> Option<&mut Array> {
        let place = self.place(at)?;
        self.0.get_mut(place)
    }

    pub fn remove(&mut self, at: usize) {
        if let Some(place) = self.place(at) {
            self.0.remove(place);
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
        };
        match self.0.iter_mut().find(|array| array.name == name) {
            Some(array) => *array = new,
            None => self.0.push(new),
        }
    }

    /// A name that no array has.
    pub fn free(&self) -> Option<&'static str> {
        let taken = |name: &str| self.0.iter().any(|array| array.name == name);
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
        let mut arrays = Vec::new();
        for name in store.names()? {
            let array = store.array(name.as_str())?;
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
                name: name.to_string(),
                width: shape.get(1).map_or(1, |&width| width as usize),
                rows,
            });
        }
        Ok(Self(arrays))
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
        write!(f, "{:?}x{}[{}]", self.name, self.width, tags.join(" "))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}
