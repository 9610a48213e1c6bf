use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use numpack_engine::{Snapshot, Store};

use crate::error::Result;
use crate::held::held;

/// The instants of one query: whatever it reads of a store, it reads of one snapshot.
#[derive(Debug, Default)]
pub(crate) struct Instants {
    taken: Mutex<HashMap<Key, Snapshot>>,
}

/// A store, and the arrays of it that the query may see.
type Key = (PathBuf, Option<Vec<String>>);

impl Instants {
    /// All arrays of `store`, or those of `only`, in that order, as they were when the query first
    /// asked.
    pub(crate) fn of(&self, store: &Store, only: Option<&[String]>) -> Result<Snapshot> {
        let key = (store.path().to_path_buf(), only.map(<[String]>::to_vec));
        let mut taken = held(&self.taken);
        if let Some(snapshot) = taken.get(&key) {
            return Ok(snapshot.clone());
        }
        let snapshot = match only {
            None => store.snapshot_all()?,
            Some(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                store.snapshot(&names)?
            }
        };
        taken.insert(key, snapshot.clone());
        Ok(snapshot)
    }
}
