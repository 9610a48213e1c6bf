//! How a store stands, as a dict.

use numpack::Stats;
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub(crate) fn dict<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let pending = PyDict::new(py);
    for array in &stats.pending {
        let facts = PyDict::new(py);
        facts.set_item("rows", array.rows)?;
        facts.set_item("pages", array.pages)?;
        pending.set_item(array.name.as_str(), facts)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("arrays", stats.arrays)?;
    dict.set_item("rows", stats.rows)?;
    dict.set_item("bytes", stats.bytes)?;
    dict.set_item("deleted", stats.deleted)?;
    dict.set_item("journal_bytes", stats.journal_bytes)?;
    dict.set_item("journal_limit", stats.journal_limit)?;
    dict.set_item("records", stats.records)?;
    dict.set_item("lsn", stats.lsn)?;
    dict.set_item("synced_lsn", stats.synced_lsn)?;
    dict.set_item("pending", pending)?;
    dict.set_item("mapped", stats.mapped)?;
    dict.set_item("idle_maps", stats.idle_maps)?;
    dict.set_item("durability", stats.durability.to_string())?;
    Ok(dict)
}
