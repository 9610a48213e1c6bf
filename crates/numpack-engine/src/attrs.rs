//! Attributes of the store and of its arrays: read from the state, changed by a record of the journal.

use numpack_format::journal::Record;
use numpack_format::{ArrayName, Attrs, FormatError};

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::snapshot::{ArraySnapshot, Snapshot};
use crate::store::Store;
use crate::transaction::{Change, Transaction};

/// Bytes of all attributes of a store: they share a file with a limit of its own, which every reader
/// reads whole.
const MOST: usize = 64 << 20;

impl Store {
    /// The attributes of the store.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use numpack_engine::{Options, Store};
    /// let store = Store::open(&dir.path().join("s.npk"), &Options::default())?;
    /// assert!(store.attrs()?.is_empty());
    /// let mut change = store.begin()?;
    /// change.set_attrs(None, r#"{"model": "resnet"}"#)?;
    /// change.commit()?;
    /// assert_eq!(store.attrs()?.as_str(), r#"{"model": "resnet"}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`], or files that cannot be read.
    pub fn attrs(&self) -> Result<Attrs> {
        Ok(self.fresh()?.state.read().attrs.clone())
    }

    /// The attributes of an array.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Closed`], or files that cannot be read.
    pub fn array_attrs(&self, name: &str) -> Result<Attrs> {
        let shared = self.fresh()?;
        let state = shared.state.read();
        let array = state.get(name).ok_or_else(|| Error::not_found(name))?;
        Ok(array.attrs.clone())
    }
}

impl Snapshot {
    /// The attributes of the store at that moment; none for a snapshot put together from several.
    pub fn attrs(&self) -> &Attrs {
        &self.moment().attrs
    }
}

impl ArraySnapshot {
    /// The attributes of the array at that moment.
    pub fn attrs(&self) -> &Attrs {
        &self.state().attrs
    }
}

impl Transaction<'_> {
    /// Gives an array, or with `None` the store, other attributes in the place of all that it had: the
    /// text of a JSON object. Attributes stay when an array is saved over, changed or renamed, are
    /// copied with it, and go when it is dropped.
    ///
    /// # Errors
    /// A bad name, or a text that is not a JSON object or longer than [`Attrs::MAX_LEN`] bytes. The rest
    /// is checked at commit: that the array is there, and that all attributes together take no more
    /// than 64 MiB.
    pub fn set_attrs(&mut self, name: Option<&str>, json: &str) -> Result<()> {
        let name = name.map(ArrayName::new).transpose()?;
        let attrs = Attrs::new(json).map_err(|error| match error {
            FormatError::InvalidAttrs { reason } => {
                Error::InvalidArgument(format!("attributes of {}: {reason}", owner(name.as_ref())))
            }
            error => error.into(),
        })?;
        self.add(Change::Attrs { name, attrs });
        Ok(())
    }
}

impl Plan<'_, '_> {
    pub(crate) fn set_attrs(&mut self, name: Option<ArrayName>, attrs: Attrs) -> Result<()> {
        let now = match &name {
            Some(name) => self.get(name)?.attrs.clone(),
            None => self.scratch.attrs.clone(),
        };
        if now == attrs {
            return Ok(());
        }
        let total = self.attrs_len() + attrs.byte_len();
        if total > MOST && attrs.byte_len() > now.byte_len() {
            return Err(Error::InvalidArgument(format!(
                "attributes of {}: with them all attributes of the store take {total} bytes, at most \
                 {MOST} are possible",
                owner(name.as_ref())
            )));
        }
        self.record(Record::Attrs { name, attrs })
    }

    /// Bytes of all attributes, those that this transaction replaces counted as well.
    fn attrs_len(&self) -> usize {
        let planned = self.records.iter().map(|record| match record {
            Record::Attrs { attrs, .. } => attrs.byte_len(),
            _ => 0,
        });
        let state = self.committed();
        let arrays = state.arrays.values().map(|array| array.attrs.byte_len());
        arrays.sum::<usize>() + state.attrs.byte_len() + planned.sum::<usize>()
    }
}

fn owner(name: Option<&ArrayName>) -> String {
    name.map_or_else(
        || "the store".to_owned(),
        |name| format!("array \"{name}\""),
    )
}
