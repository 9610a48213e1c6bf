"""Vector search by SQL against NumPy in float64, within the bounds that the kernels state."""

import re

import numpy as np
import pyarrow as pa
import pytest
from numpack import NumPack, SQLError, connect
from support import plain

WIDTH, ROWS, K = 37, 3000, 10
DTYPES = ("f2", "f4", "f8", "i1", "u1")
EPS = float(np.finfo("f4").eps)


def l2_squared(rows, q):
    return ((rows - q) ** 2).sum(axis=-1)


REFERENCE = {
    "l2_squared": l2_squared,
    "l2_distance": lambda rows, q: np.sqrt(l2_squared(rows, q)),
    "inner_product": lambda rows, q: (rows * q).sum(axis=-1),
    "cosine_distance": lambda rows, q: (
        1 - (rows * q).sum(axis=-1) / (np.linalg.norm(rows, axis=-1) * np.linalg.norm(q, axis=-1))
    ),
}


def both(a, b):
    """Two arrays of vectors in float64."""
    return a.astype("f8"), b.astype("f8")


def vectors(dtype, seed, rows=ROWS):
    """Rows of both signs where the dtype has them."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        return rng.integers(0 if dtype == "u1" else -100, 100, (rows, WIDTH)).astype(dtype)
    return rng.standard_normal((rows, WIDTH)).astype(dtype)


def assert_close(found, wanted, dtype):
    """Sums of `WIDTH` terms, in float32 for rows of at most that, in float64 for the others."""
    tolerance = WIDTH * (EPS if dtype in ("f2", "f4") else 1e-15)
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * scale)


@pytest.fixture(params=DTYPES)
def table(request, npk):
    rows = vectors(request.param, 1)
    npk.save({"id": np.arange(ROWS), "label": plain("u1", (ROWS,), 2) % 3, "emb": rows})
    return npk, rows, request.param


@pytest.mark.parametrize("name", REFERENCE)
def test_distances_from_a_parameter(table, name):
    npk, rows, dtype = table
    q = vectors(dtype, 3, 1)[0]
    found = npk.sql(f"SELECT {name}(emb, $q) AS d FROM self", q=q).to_numpy()["d"]
    assert found.dtype == np.float64
    assert_close(found, REFERENCE[name](rows.astype("f8"), q.astype("f8")), dtype)


@pytest.mark.parametrize("name", REFERENCE)
def test_distances_from_a_literal(table, name):
    npk, rows, dtype = table
    q = vectors("i1", 3, 1)[0]
    text = f"SELECT {name}({q.tolist()}, emb) AS d FROM self"
    found = npk.sql(text).to_numpy()["d"]
    assert_close(found, REFERENCE[name](rows.astype("f8"), q.astype("f8")), dtype)


@pytest.mark.parametrize("name", REFERENCE)
def test_distances_of_two_columns(table, name):
    npk, rows, dtype = table
    other = vectors("f4", 4)
    npk.save({"other": other})
    found = npk.sql(f"SELECT {name}(emb, other) AS d FROM self").to_numpy()["d"]
    assert_close(found, REFERENCE[name](*both(rows, other)), dtype if dtype == "f8" else "f4")


def nearest(rows, q, name="l2_squared", mask=None, largest=False):
    """The positions of the first rows, in float64."""
    distances = REFERENCE[name](rows.astype("f8"), q.astype("f8"))
    if largest:
        distances = -distances
    if mask is not None:
        distances = np.where(mask, distances, np.inf)
    return np.argsort(distances, kind="stable")[:K], distances


def assert_nearest(found, rows, q, **how):
    """The same rows, but where distances are equal within what float32 tells apart."""
    wanted, distances = nearest(rows, q, **how)
    assert len(found) == len(wanted) and len(set(found)) == len(found)
    scale = 1e-5 * max(1.0, float(np.abs(distances[wanted]).max()))
    np.testing.assert_allclose(distances[found], distances[wanted], rtol=1e-5, atol=scale)


@pytest.mark.parametrize("name", ["l2_distance", "l2_squared", "cosine_distance"])
def test_the_nearest_rows(table, name):
    npk, rows, dtype = table
    q = vectors(dtype, 5, 1)[0]
    for text, mask in (
        (f"SELECT id FROM self ORDER BY {name}(emb, $q) LIMIT {K}", None),
        (f"SELECT id FROM self WHERE label = 1 ORDER BY {name}(emb, $q) LIMIT {K}", 1),
        (f"SELECT id FROM (SELECT id, {name}(emb, $q) AS d FROM self) ORDER BY d LIMIT {K}", None),
    ):
        found = npk.sql(text, q=q).to_numpy()["id"]
        label = npk.load("label")
        assert_nearest(found, rows, q, name=name, mask=None if mask is None else label == mask)


def test_the_largest_products(table):
    npk, rows, dtype = table
    q = vectors(dtype, 6, 1)[0]
    text = f"SELECT id FROM self ORDER BY inner_product(emb, $q) DESC LIMIT {K}"
    assert_nearest(npk.sql(text, q=q).to_numpy()["id"], rows, q, name="inner_product", largest=True)


def test_rows_that_are_gone_are_not_near(table):
    npk, rows, _ = table
    q = rows[7]
    npk.drop(["id", "label", "emb"], [7, 100, 2999])
    left = np.delete(np.arange(ROWS), [7, 100, 2999])
    found = npk.sql(f"SELECT id FROM self ORDER BY l2_distance(emb, $q) LIMIT {K}", q=q)
    found = found.to_numpy()["id"]
    assert not set(found) & {7, 100, 2999}
    assert_nearest(np.searchsorted(left, found), rows[left], q, name="l2_distance")


def test_the_order_of_all_rows_keeps_to_a_memory_limit(npk):
    """They are more than the limit allows: the sort spills, and vectors stay out of it."""
    rows = vectors("f4", 1, 300_000)
    npk.save({"emb": rows})
    q = vectors("f4", 3, 1)[0]
    with connect(npk, memory_limit=1, threads=2) as db:
        result = db.sql("SELECT row_id FROM self ORDER BY l2_distance(emb, $q)", q=q)
        plan = result.explain(analyze=True)
        found = result.to_numpy()["row_id"]
        with pytest.raises(SQLError, match=r"(?s)Resources exhausted.*nearest rows"):
            text = "SELECT row_id FROM self ORDER BY l2_distance(emb, $q) LIMIT 200000"
            db.sql(text, q=q).to_numpy()
    assert "SortExec" in plan
    assert "bytes_copied(emb)" not in plan
    assert not re.search(r"spill_count=0\b", plan), plan
    distances = l2_squared(*both(rows, q))
    assert len(np.unique(found)) == len(rows)
    ordered = distances[found]
    assert (np.diff(ordered) > -1e-4).all()


def test_all_rows_and_their_distances_in_order(npk):
    rows = vectors("f4", 1, 500)
    npk.save({"id": np.arange(500), "emb": rows})
    q = vectors("f4", 3, 1)[0]
    wanted = np.argsort(l2_squared(*both(rows, q)))
    for columns in ("id, emb", "id, l2_distance(emb, $q) AS d", "emb, id AS id"):
        text = f"SELECT {columns} FROM self ORDER BY l2_distance(emb, $q)"
        found = npk.sql(text, q=q).to_numpy()
        assert found["id"].tolist() == wanted.tolist()
        if "emb" in found:
            assert (found["emb"] == rows[wanted]).all()
    descending = "SELECT id FROM self ORDER BY l2_distance(emb, $q) DESC"
    assert npk.sql(descending, q=q).to_numpy()["id"].tolist() == wanted[::-1].tolist()


# ---------------------------------------------------------------------- many vectors at once
MANY = """
SELECT qid, id, r FROM (
    SELECT q.qid, t.id, row_number() OVER (PARTITION BY q.qid ORDER BY {order}) AS r
    FROM {tables}
) WHERE r <= 10 ORDER BY qid, r
"""


def queries(dtype, count, seed=8):
    """A table of vectors."""
    many = vectors(dtype, seed, count)
    items = pa.FixedSizeListArray.from_arrays(pa.array(many.reshape(-1)), WIDTH)
    return many, pa.table({"qid": pa.array(range(count)), "v": items})


@pytest.mark.parametrize("tables", ["queries q CROSS JOIN self t", "self t CROSS JOIN queries q"])
def test_the_nearest_rows_of_many_vectors(table, tables):
    npk, rows, dtype = table
    many, given = queries(dtype, 23)
    text = MANY.format(order="l2_distance(t.emb, q.v)", tables=tables)
    result = npk.sql(text, queries=given)
    assert "NearestJoinExec" in result.explain()
    found = result.to_numpy()
    assert found["qid"].tolist() == np.repeat(np.arange(23), K).tolist()
    for qid, q in enumerate(many):
        assert_nearest(found["id"][found["qid"] == qid], rows, q)


def test_many_vectors_keep_to_a_memory_limit(npk):
    """The rows are more than the limit allows: those found are copied out of their batches."""
    rows = vectors("f4", 1, 200_000)
    npk.save({"id": np.arange(len(rows)), "emb": rows})
    many, given = queries("f4", 5)
    text = MANY.format(order="l2_distance(t.emb, q.v)", tables="queries q CROSS JOIN self t")
    with connect(npk, memory_limit=4, threads=2) as db:
        found = db.sql(text, queries=given).to_numpy()
    for qid, q in enumerate(many):
        assert_nearest(found["id"][found["qid"] == qid], rows, q)


@pytest.mark.parametrize(
    ("order", "tables", "how"),
    [
        ("inner_product(q.v, t.emb) DESC", "queries q CROSS JOIN self t", "product"),
        ("l2_squared(t.emb, q.v)", "queries q, (SELECT * FROM self WHERE label = 2) t", "label"),
        (
            "d",
            "(SELECT q.qid, t.id, cosine_distance(t.emb, q.v) AS d FROM queries q, self t) AS q",
            "cosine",
        ),
    ],
)
def test_many_vectors_in_other_words(npk, order, tables, how):
    rows, label = vectors("f4", 1), plain("u1", (ROWS,), 2) % 3
    npk.save({"id": np.arange(ROWS), "label": label, "emb": rows})
    npk.drop(["id", "label", "emb"], [5, 6])
    left = np.delete(np.arange(ROWS), [5, 6])
    many, given = queries("f4", 7)
    many_of = MANY.replace("t.id", "q.id") if how == "cosine" else MANY
    text = many_of.format(order=order, tables=tables)
    result = npk.sql(text, queries=given)
    assert "NearestJoinExec" in result.explain()
    found = result.to_numpy()
    ways = {
        "product": {"name": "inner_product", "largest": True},
        "label": {"mask": label[left] == 2},
        "cosine": {"name": "cosine_distance"},
    }
    for qid, q in enumerate(many):
        ids = found["id"][found["qid"] == qid]
        assert_nearest(np.searchsorted(left, ids), rows[left], q, **ways[how])


@pytest.mark.parametrize(
    "text",
    [
        # Ranks share numbers, sums are of all rows, and this one counts from the far end.
        "SELECT qid, id FROM (SELECT q.qid, t.id, rank() OVER (PARTITION BY q.qid "
        "ORDER BY l2_distance(t.emb, q.v)) AS r FROM queries q, self t) WHERE r <= 3",
        "SELECT qid, id FROM (SELECT q.qid, t.id, row_number() OVER (PARTITION BY q.qid "
        "ORDER BY l2_distance(t.emb, q.v)) AS r FROM queries q, self t) WHERE r >= 90",
        "SELECT qid, id FROM (SELECT q.qid, t.id, row_number() OVER (PARTITION BY t.id "
        "ORDER BY l2_distance(t.emb, q.v)) AS r FROM queries q, self t) WHERE r <= 3",
        "SELECT qid, id FROM (SELECT q.qid, t.id, row_number() OVER (PARTITION BY q.qid "
        "ORDER BY l2_distance(t.emb, q.v), t.id DESC) AS r FROM queries q, self t) WHERE r <= 3",
    ],
)
def test_other_windows_are_computed_in_full(npk, text):
    rows = vectors("f4", 1, 100)
    npk.save({"id": np.arange(100), "emb": rows})
    many, given = queries("f4", 5)
    result = npk.sql(text, queries=given)
    found = set(zip(*(column.tolist() for column in result.to_numpy().values()), strict=True))
    distances = np.array([l2_squared(rows.astype("f8"), q.astype("f8")) for q in many])
    ranks = distances.argsort(axis=1).argsort(axis=1)
    if "PARTITION BY t.id" in text:
        ranks = distances.argsort(axis=0).argsort(axis=0)
    chosen = ranks >= 89 if ">= 90" in text else ranks < 3
    assert found == set(zip(*map(list, np.nonzero(chosen)), strict=True))


def test_no_vectors_and_null_vectors(npk):
    npk.save({"id": np.arange(50), "emb": vectors("f4", 1, 50)})
    _, given = queries("f4", 3)
    text = MANY.format(order="l2_distance(t.emb, q.v)", tables="queries q CROSS JOIN self t")
    assert len(npk.sql(text, queries=given.slice(0, 0))) == 0
    holes = pa.array([None, given["v"][1].as_py()], given["v"].type)
    found = npk.sql(text, queries=pa.table({"qid": [0, 1], "v": holes})).to_numpy()
    assert found["qid"].tolist() == [0] * K + [1] * K


def test_lengths_that_differ_are_named(npk):
    npk.save({"emb": vectors("f4", 1, 5)})
    with pytest.raises(SQLError, match=r"37.*3|3.*37"):
        npk.sql("SELECT l2_distance(emb, [1, 2, 3]) FROM self")


def test_tensors_and_stores_beside_each_other(tmp_path):
    """Rows of rank 2 as one vector each, and vectors that lie in another store."""
    import numpack

    with NumPack(tmp_path / "a.npk") as a, NumPack(tmp_path / "b.npk") as b:
        a.save({"id": np.arange(200), "emb": vectors("f4", 1, 200)})
        b.save({"qid": np.arange(4), "v": vectors("f4", 9, 4)})
        many = b.load("v")
        with numpack.connect({"self": a, "queries": b}) as db:
            text = MANY.format(order="l2_distance(t.emb, q.v)", tables="queries q, self t")
            found = db.sql(text).to_numpy()
        for qid, q in enumerate(many):
            assert_nearest(found["id"][found["qid"] == qid], a.load("emb"), q)
        image = np.arange(200 * 6, dtype="f4").reshape(200, 2, 3) % 17
        a.save({"image": image})
        text = "SELECT id FROM self ORDER BY l2_distance(image, $q) LIMIT 1"
        found = a.sql(text, q=image[5].reshape(-1)).to_numpy()["id"]
        assert (image[found[0]] == image[5]).all()
