//! `Store`: the engine's handle, one method for each call of `NumPack` that it serves.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use numpack::datafusion::{Connection, ConnectionOptions};
use numpack::{ArrayMeta, Options, RowSource, Selection, Shape, Snapshot};
use numpy::PyArrayDescr;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyTuple};

use crate::array_view::{self, ArrayView};
use crate::commit::{self, Step};
use crate::errors::{self, detached};
use crate::fill::Repeated;
use crate::info::ArrayInfo;
use crate::locked::Locked;
use crate::query::Query;
use crate::report::Report;
use crate::selection::selection;
use crate::values::{self, Input};
use crate::{arrow, dtypes, query, signals, stats};

/// An open store.
#[pyclass(frozen, module = "numpack._internal")]
pub(crate) struct Store {
    pub(crate) engine: numpack::Store,
    /// Made by the first query; tables that queries make for themselves live in it.
    connection: OnceLock<Connection>,
}

/// The arrays of one call, ready for the engine.
struct Inputs<'py>(Vec<(Bound<'py, PyAny>, Input<'py>)>);

impl<'py> Inputs<'py> {
    fn new(
        arrays: &Bound<'py, PyDict>,
        input: impl Fn(&str, &Bound<'py, PyAny>) -> PyResult<Input<'py>>,
    ) -> PyResult<Self> {
        let mut inputs = Vec::with_capacity(arrays.len());
        for (key, value) in arrays.iter() {
            let input = input(values::name(&key)?, &value)?;
            inputs.push((key, input));
        }
        Ok(Self(inputs))
    }

    fn parts(&self) -> PyResult<Vec<(&str, &ArrayMeta, &[u8])>> {
        self.0
            .iter()
            .map(|(key, input)| Ok((values::name(key)?, &input.meta, input.bytes()?)))
            .collect()
    }
}

impl Store {
    /// Values for arrays that exist: of their dtype, or convertible to it.
    fn rows<'py>(&self, arrays: &Bound<'py, PyDict>) -> PyResult<Inputs<'py>> {
        Inputs::new(arrays, |name, value| {
            Input::rows(name, value, || {
                detached(value.py(), || self.engine.info(name)).map(|info| info.dtype)
            })
        })
    }
}

#[pymethods]
impl Store {
    #[new]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        mode: &str,
        durability: &str,
        lock_timeout: f64,
        network_fs: bool,
    ) -> PyResult<Self> {
        let options = Options::default()
            .with_mode(mode.parse().map_err(|error| errors::engine(py, error))?)
            .with_durability(
                durability
                    .parse()
                    .map_err(|error| errors::engine(py, error))?,
            )
            .with_lock_timeout(Duration::try_from_secs_f64(lock_timeout).unwrap_or(Duration::MAX))
            .with_network(network_fs)
            .with_interrupt(signals::interrupt());
        let engine = detached(py, || numpack::Store::open(&path, &options))?;
        Ok(Self {
            engine,
            connection: OnceLock::new(),
        })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.engine.close())
    }

    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.engine.sync())
    }

    fn verify(&self, py: Python<'_>, deep: bool) -> PyResult<Report> {
        detached(py, || self.engine.verify(deep)).map(Report)
    }

    fn checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.engine.checkpoint())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats::dict(py, &detached(py, || self.engine.stats())?)
    }

    fn lock(&self, py: Python<'_>) -> PyResult<Locked> {
        detached(py, || self.engine.locked()).map(Locked::new)
    }

    fn backup(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        detached(py, || self.engine.backup(&path))
    }

    /// Saves arrays of another store as one commit.
    fn save_snapshot(
        &self,
        py: Python<'_>,
        views: Vec<PyRef<'_, ArrayView>>,
        overwrite: bool,
    ) -> PyResult<()> {
        let snapshot: Snapshot = views.iter().map(|view| view.snapshot.clone()).collect();
        detached(py, || {
            self.engine.save_snapshot(&snapshot, overwrite).map(drop)
        })
    }

    /// The attributes of an array, or of the store, as JSON.
    fn attrs(&self, py: Python<'_>, name: Option<&str>) -> PyResult<String> {
        let attrs = detached(py, || match name {
            Some(name) => self.engine.array_attrs(name),
            None => self.engine.attrs(),
        })?;
        Ok(attrs.as_str().to_owned())
    }

    /// Hands the attributes as a dict to `change`, and stores what it has become, with nobody writing
    /// in between; gives what `change` gave.
    fn edit_attrs<'py>(
        &self,
        py: Python<'py>,
        name: Option<&str>,
        change: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let lock = self.lock(py)?;
        let json = PyModule::import(py, "json")?;
        let attrs = json.call_method1("loads", (self.attrs(py, name)?,))?;
        let given = change.call1((&attrs,))?;
        let text: String = PyModule::import(py, "numpack.attr_values")?
            .call_method1("dumps", (attrs,))?
            .extract()?;
        detached(py, || {
            let mut change = self.engine.begin()?;
            change.set_attrs(name, &text)?;
            change.commit().map(drop)
        })?;
        drop(lock);
        Ok(given)
    }

    fn names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let names = detached(py, || self.engine.names())?;
        Ok(names.iter().map(|name| name.as_str().to_owned()).collect())
    }

    fn count(&self, py: Python<'_>) -> PyResult<usize> {
        detached(py, || self.engine.names()).map(|names| names.len())
    }

    fn contains(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        detached(py, || self.engine.contains(name))
    }

    fn info(&self, py: Python<'_>, name: &str) -> PyResult<ArrayInfo> {
        detached(py, || self.engine.info(name)).map(ArrayInfo)
    }

    fn infos(&self, py: Python<'_>) -> PyResult<Vec<ArrayInfo>> {
        let infos = detached(py, || self.engine.infos())?;
        Ok(infos.into_iter().map(ArrayInfo).collect())
    }

    fn load<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let snapshot = detached(py, || self.engine.array(name))?;
        array_view::load(py, &snapshot, copy)
    }

    fn view<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let snapshot = detached(py, || self.engine.array(name))?;
        array_view::view(py, &snapshot, &array_view::dims(&snapshot))
    }

    fn getitem<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        indexes: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let snapshot = detached(py, || self.engine.array(name))?;
        array_view::gather(py, &snapshot, &selection(indexes)?)
    }

    /// Several arrays at one instant; all of them when `names` is None.
    fn snapshot(&self, py: Python<'_>, names: Option<Vec<String>>) -> PyResult<Vec<ArrayView>> {
        let snapshot = detached(py, || match &names {
            None => self.engine.snapshot_all(),
            Some(names) => self
                .engine
                .snapshot(&names.iter().map(String::as_str).collect::<Vec<_>>()),
        })?;
        Ok(snapshot
            .arrays()
            .iter()
            .cloned()
            .map(ArrayView::of)
            .collect())
    }

    fn save(&self, py: Python<'_>, arrays: &Bound<'_, PyDict>) -> PyResult<()> {
        let inputs = Inputs::new(arrays, Input::any)?;
        let parts = inputs.parts()?;
        detached(py, || {
            let mut change = self.engine.begin()?;
            for (name, meta, mut bytes) in parts {
                change.put(name, meta, &mut bytes)?;
            }
            change.commit().map(drop)
        })
    }

    fn append(&self, py: Python<'_>, arrays: &Bound<'_, PyDict>) -> PyResult<()> {
        let inputs = self.rows(arrays)?;
        let parts = inputs.parts()?;
        detached(py, || {
            let mut change = self.engine.begin()?;
            for (name, meta, bytes) in parts {
                change.append(name, meta, bytes)?;
            }
            change.commit().map(drop)
        })
    }

    fn replace(
        &self,
        py: Python<'_>,
        arrays: &Bound<'_, PyDict>,
        indexes: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let mut chosen = selection(indexes)?;
        let inputs = self.rows(arrays)?;
        let parts = inputs.parts()?;
        detached(py, || {
            let mut change = self.engine.begin()?;
            let last = parts.len().saturating_sub(1);
            for (at, (name, meta, bytes)) in parts.into_iter().enumerate() {
                // One array is the rule: its selection is given away, not copied.
                let chosen = if at == last {
                    std::mem::replace(&mut chosen, Selection::All)
                } else {
                    chosen.clone()
                };
                change.replace(name, chosen, meta, bytes)?;
            }
            change.commit().map(drop)
        })
    }

    /// Arrays, or rows of them; missing names are silent.
    fn drop(
        &self,
        py: Python<'_>,
        names: Vec<String>,
        indexes: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let chosen = indexes.map(selection).transpose()?;
        detached(py, || {
            let mut change = self.engine.begin()?;
            for name in &names {
                match &chosen {
                    None => change.drop_array(name)?,
                    Some(chosen) if self.engine.contains(name)? => {
                        change.delete_rows(name, chosen.clone())?;
                    }
                    Some(_) => {}
                }
            }
            change.commit().map(drop)
        })
    }

    fn create(
        &self,
        py: Python<'_>,
        name: &str,
        shape: Vec<i64>,
        dtype: &Bound<'_, PyArrayDescr>,
        fill: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let dtype = dtypes::supported(name, dtype)?;
        let dims = shape
            .iter()
            .map(|&length| {
                u64::try_from(length).map_err(|_| {
                    errors::raise(
                        py,
                        "ArgumentError",
                        &format!("array \"{name}\": length {length} is negative"),
                    )
                })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let shape = Shape::new(&dims, dtype).map_err(|error| errors::engine(py, error.into()))?;
        let meta = ArrayMeta { dtype, shape };
        let fill = Input::rows(name, fill, || Ok(dtype))?;
        if fill.meta.shape.ndim() != 0 || fill.meta.dtype != dtype {
            return Err(errors::raise(
                py,
                "ArgumentError",
                &format!("array \"{name}\": fill must be one {}", dtype.name()),
            ));
        }
        let element = fill.bytes()?;
        let zeros = element.iter().all(|&byte| byte == 0);
        detached(py, || {
            let mut change = self.engine.begin()?;
            if self.engine.contains(name)? {
                return Err(numpack::Error::AlreadyExists {
                    name: name.to_owned(),
                });
            }
            // Somebody may make one before this gets the lock.
            change.require_absent(name)?;
            if zeros {
                change.create(name, &meta)?;
            } else {
                let mut rows = Repeated::new(element, meta.byte_len());
                change.put(name, &meta, &mut rows as &mut dyn RowSource)?;
            }
            change.commit().map(drop)
        })
    }

    fn rename(&self, py: Python<'_>, from: &str, to: &str) -> PyResult<()> {
        detached(py, || {
            let mut change = self.engine.begin()?;
            change.rename(from, to)?;
            change.commit().map(drop)
        })
    }

    fn clone(&self, py: Python<'_>, source: &str, target: &str) -> PyResult<()> {
        detached(py, || {
            let mut change = self.engine.begin()?;
            change.copy_array(source, target)?;
            change.commit().map(drop)
        })
    }

    fn compact(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        detached(py, || {
            let mut change = self.engine.begin()?;
            change.compact(name)?;
            change.commit().map(drop)
        })
    }

    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            let mut change = self.engine.begin()?;
            change.drop_all()?;
            change.commit().map(drop)
        })
    }

    /// Writes the steps of a batch as one commit, unless an array of `bases` has changed.
    fn commit_batch(
        &self,
        py: Python<'_>,
        bases: Vec<PyRef<'_, ArrayView>>,
        steps: Vec<Step<'_>>,
    ) -> PyResult<()> {
        commit::batch(py, &self.engine, &bases, &steps)
    }

    fn to_arrow<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        zero_copy_only: bool,
        bool8: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let snapshot = detached(py, || self.engine.array(name))?;
        arrow::array(py, &snapshot, zero_copy_only, bool8)
    }

    /// Runs a statement over all arrays, or over those that are named.
    #[pyo3(signature = (text, names, args, named, read_only=false))]
    fn sql(
        &self,
        py: Python<'_>,
        text: &str,
        names: Option<Vec<String>>,
        args: &Bound<'_, PyTuple>,
        named: &Bound<'_, PyDict>,
        read_only: bool,
    ) -> PyResult<Query> {
        let options = || {
            ConnectionOptions::default()
                .with_interrupt(signals::interrupt())
                .with_read_only(read_only)
        };
        if names.is_some() || read_only {
            let connection = match names {
                Some(names) => Connection::over_arrays(&self.engine, names, options()),
                None => Connection::over(&self.engine, options()),
            };
            let connection = connection.map_err(|error| errors::sql(py, error))?;
            return query::plan(py, &connection, text, args, named);
        }
        let connection = if let Some(connection) = self.connection.get() {
            connection
        } else {
            let connection = Connection::over(&self.engine, options())
                .map_err(|error| errors::sql(py, error))?;
            self.connection.get_or_init(|| connection)
        };
        query::plan(py, connection, text, args, named)
    }
}
