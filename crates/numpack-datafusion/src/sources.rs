use numpack_engine::{Snapshot, Store};

use crate::directory::Directory;
use crate::error::{Result, SqlError};
use crate::place::Place;

/// What a query calls the store that it runs over.
pub(crate) const SELF: &str = "self";

/// The schema that holds the arrays of the store `self`.
pub(crate) const ARRAYS: &str = "arrays";

/// The stores that a connection is over.
#[derive(Debug)]
pub(crate) enum Sources {
    /// One store, called `self`, or some arrays of it.
    Store {
        store: Store,
        only: Option<Vec<String>>,
    },
    /// Several stores by name.
    Stores(Vec<(String, Store)>),
    /// The stores of a directory.
    Directory(Directory),
}

/// A store of a connection, and the arrays of it that queries may see.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) store: Store,
    pub(crate) only: Option<Vec<String>>,
}

impl Sources {
    /// The names of the tables that are stores.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        match self {
            Self::Store { .. } => Ok(vec![SELF.to_owned()]),
            Self::Stores(stores) => Ok(stores.iter().map(|(name, _)| name.clone()).collect()),
            Self::Directory(directory) => directory.tables(),
        }
    }

    /// Whether a store is a table of this name; nothing is opened for it.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Store { .. } => name == SELF,
            Self::Stores(stores) => stores.iter().any(|(known, _)| known == name),
            Self::Directory(directory) => directory.store_name(name).is_some(),
        }
    }

    /// The store that is the table `name`.
    pub(crate) fn store(&self, name: &str) -> Result<Option<Source>> {
        let store = match self {
            Self::Store { store, only } if name == SELF => {
                return Ok(Some(Source {
                    store: store.clone(),
                    only: only.clone(),
                }));
            }
            Self::Store { .. } => None,
            Self::Stores(stores) => {
                let store = stores.iter().find(|(known, _)| known == name);
                store.map(|(_, store)| store.clone())
            }
            Self::Directory(directory) => directory.store(name)?,
        };
        Ok(store.map(|store| Source { store, only: None }))
    }

    /// Where a table of this name lies or would lie.
    ///
    /// # Errors
    /// A name that no new table can have.
    pub(crate) fn place(&self, schema: Option<&str>, table: &str) -> Result<Place> {
        let array = |source: Source| match source.only {
            None => Ok(Place::Array {
                store: source.store,
                name: table.to_owned(),
            }),
            Some(_) => Err(SqlError::Usage(format!(
                "table \"{table}\": this connection is over some arrays of a store; use one over the \
                 store to make or drop tables"
            ))),
        };
        let of_schema = schema.and_then(|schema| self.table_of_schema(schema));
        let store = match (schema, of_schema) {
            (_, Some(of)) => self.store(of)?,
            (Some(schema), None) => {
                return Err(SqlError::Usage(format!("there is no schema \"{schema}\"")));
            }
            (None, None) if self.has(table) => None,
            (None, None) => self
                .arrays_beside()
                .map(|of| self.store(of))
                .transpose()?
                .flatten(),
        };
        match (store, self) {
            (Some(store), _) => array(store),
            (None, Self::Directory(directory)) => directory.place(table),
            (None, Self::Store { .. }) => Err(SqlError::Usage(format!(
                "table \"{table}\" is the store itself; an array of it can be made or dropped"
            ))),
            (None, Self::Stores(stores)) => {
                let names = stores.iter().map(|(name, _)| name.as_str());
                Err(SqlError::Usage(format!(
                    "table \"{table}\": name the store of the array as its schema, one of {}",
                    names.collect::<Vec<_>>().join(", ")
                )))
            }
        }
    }

    /// Removes the store that is the table `name`, with its files.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.remove(name),
            Self::Store { .. } | Self::Stores(_) => Ok(()),
        }
    }

    /// The name of the schema that holds the arrays of a store.
    pub(crate) fn arrays_schema<'a>(&self, table: &'a str) -> &'a str {
        match self {
            Self::Store { .. } => ARRAYS,
            Self::Stores(_) | Self::Directory(_) => table,
        }
    }

    /// The table whose arrays the schema `name` holds.
    pub(crate) fn table_of_schema<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self {
            Self::Store { .. } => (name == ARRAYS).then_some(SELF),
            Self::Stores(_) | Self::Directory(_) => self.has(name).then_some(name),
        }
    }

    /// The store whose arrays are tables beside it, without the name of a schema.
    pub(crate) fn arrays_beside(&self) -> Option<&'static str> {
        matches!(self, Self::Store { .. }).then_some(SELF)
    }
}

/// The arrays of a snapshot that are tables of their own, by name.
pub(crate) fn array_tables(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let arrays = snapshot.arrays().iter().filter(|array| array.ndim() > 0);
    arrays.map(|array| array.name().to_string())
}
