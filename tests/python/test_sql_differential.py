"""Thousands of random queries over random stores: the same answers as DuckDB's."""

import math
import os
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from numpack import NumPack
from sql_queries import Queries

#: Stores, and queries over each.
STORES = 20 if "NUMPACK_DEEP" not in os.environ else 200
QUERIES = 110


def arrays(seed):
    """Columns of every kind that the queries speak of."""
    rng = np.random.default_rng(seed)
    rows = int(rng.choice([0, 1, 50, 400, 3000, 9000, 20_000]))
    x = rng.integers(-40, 41, rows) / 4
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300, 5e-324])
    odd = rng.random(rows) < 0.2
    x[odd] = rng.choice(special, odd.sum())
    return {
        "id": rng.permutation(rows).astype(np.int64) if seed % 2 else np.arange(rows),
        "label": rng.integers(0, 20, rows, dtype=np.int32),
        "small": rng.integers(-15, 30, rows, dtype=np.int16),
        "byte": rng.integers(0, 12, rows, dtype=np.uint8),
        "flag": rng.random(rows) < 0.4,
        "x": x,
        "score": (rng.integers(-40, 41, rows) / 8).astype(np.float32),
        "emb": (rng.integers(-8, 9, (rows, 4)) / 4).astype(np.float32),
    }


def fill(npk, seed):
    """Save the columns and take rows away again, in every third store."""
    columns = arrays(seed)
    npk.save(columns)
    rows = len(columns["id"])
    if seed % 3 == 0 and rows > 1:
        rng = np.random.default_rng(seed)
        gone = rng.choice(rows, max(1, rows // int(rng.integers(2, 40))), replace=False)
        npk.drop(list(columns), gone)
        columns = {name: np.delete(array, gone, axis=0) for name, array in columns.items()}
    return columns


def relation(columns):
    """What DuckDB sees: made of NumPy's arrays, not of ours."""
    table = {name: pa.array(array) for name, array in columns.items() if array.ndim == 1}
    flat = pa.array(columns["emb"].reshape(-1))
    table["emb"] = pa.FixedSizeListArray.from_arrays(flat, 4)
    table["row_id"] = pa.array(np.arange(len(columns["id"])))
    return pa.table(table)


def plain(value):
    """A value as both engines would have it."""
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, list):
        return tuple(map(plain, value))
    return value


def key(row):
    """Sorts rows that are equal but for rounding into the same places."""

    def part(value):
        if value is None:
            return (0, 0)
        if isinstance(value, tuple):
            return (3, tuple(map(part, value)))
        if isinstance(value, float):
            if math.isnan(value):
                return (2, 0)
            return (1, float(f"{value:.5g}") + 0.0)
        return (1, value)

    whole = [part(value) for value in row if not isinstance(value, float)]
    return (whole, [part(value) for value in row if isinstance(value, float)])


def close(left, right):
    """Equal, or equal but for the order in which floats were added."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(close, left, right))
    if isinstance(left, float) and isinstance(right, float):
        both_nan = math.isnan(left) and math.isnan(right)
        return both_nan or left == right or math.isclose(left, right, rel_tol=1e-5, abs_tol=1e-6)
    return left == right


def rows_of(table):
    """The rows of a pyarrow.Table, in their order."""
    columns = [column.to_pylist() for column in table.columns]
    return [tuple(map(plain, row)) for row in zip(*columns, strict=True)]


def assert_equal(ours, theirs, ordered, text):
    """The same rows, in the same order where the query asks for one."""
    assert len(ours) == len(theirs), f"{len(ours)} rows, DuckDB {len(theirs)}: {text}"
    if not ordered:
        ours, theirs = sorted(ours, key=key), sorted(theirs, key=key)
    for mine, other in zip(ours, theirs, strict=True):
        assert all(map(close, mine, other)), f"{mine}, DuckDB {other}: {text}"


@pytest.mark.parametrize("seed", range(STORES))
def test_queries_answer_as_duckdb_does(path, seed):
    found = 0
    with NumPack(path) as npk, duckdb.connect() as peer:
        columns = fill(npk, seed)
        peer.register("self", relation(columns))
        queries = Queries(seed, len(columns["id"]))
        for _ in range(QUERIES):
            text = queries.query()
            ours = rows_of(npk.sql(_said(text, "l2_distance", "")).to_arrow())
            said = _said(text, "array_distance", "::FLOAT[4]")
            theirs = [tuple(map(plain, row)) for row in peer.execute(said).fetchall()]
            assert_equal(ours, theirs, "ORDER BY" in text and "OVER" not in text, text)
            found += bool(ours)
    # Otherwise the queries would say little.
    assert found > QUERIES // 2 or len(columns["id"]) < 100


def _said(text, distance, cast):
    """The query in one engine's words."""
    return text.replace("{distance}", distance).replace("{cast}", cast)
