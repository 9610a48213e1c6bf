"""requested_schema: what a consumer asks for it gets, or it gets what there is, or an error.

Never another value: a type that cannot hold what an array holds is refused.
"""

import numpy as np
import pytest
from support import assert_same, lies_in, plain

pa = pytest.importorskip("pyarrow")


def array_as(producer, wanted):
    """The array that a producer gives to who asks for a type, before pyarrow could cast it."""
    capsules = producer.__arrow_c_array__(wanted.__arrow_c_schema__())
    return pa.Array._import_from_c_capsule(*capsules)


def table_as(producer, wanted):
    capsule = producer.__arrow_c_stream__(wanted.__arrow_c_schema__())
    return pa.RecordBatchReader._import_from_c_capsule(capsule).read_all()


LISTS = pa.list_(pa.float32(), 4)


@pytest.mark.parametrize(
    ("dtype", "shape", "wanted"),
    [
        ("int32", (6,), pa.int64()),
        ("int32", (6,), pa.float64()),
        ("int64", (6,), pa.int8()),
        ("uint8", (6,), pa.string()),
        ("float64", (6,), pa.float32()),
        ("float32", (6, 4), pa.list_(pa.float32())),
        ("float32", (6, 4), pa.large_list(pa.float64())),
        ("float32", (6, 4), pa.list_(pa.float16(), 4)),
        ("int16", (6, 2, 2), pa.list_(pa.int16(), 4)),
        ("complex64", (6,), pa.list_(pa.float32(), 2)),
    ],
    ids=str,
)
def test_another_type(npk, dtype, shape, wanted):
    array = plain(dtype, shape, 1)
    npk.save({"a": array})
    npk.drop("a", [2])
    lazy = npk.load("a", lazy=True)
    usual = pa.array(lazy)
    usual = getattr(usual, "storage", usual)
    expected = usual.cast(wanted)
    assert array_as(lazy, wanted).equals(expected)
    assert pa.array(lazy, type=wanted).equals(expected)
    table = table_as(npk, pa.schema([("other", pa.int8()), ("a", wanted)]))
    assert table.schema.field("a").type == wanted
    assert table["a"].combine_chunks().equals(expected)


def test_the_type_that_it_has_costs_nothing(npk, path):
    array = plain("float32", (5000, 4), 1)
    npk.save({"a": array})
    for found in (
        array_as(npk.load("a", lazy=True), LISTS),
        table_as(npk, pa.schema([("a", LISTS)]))["a"].chunk(0),
    ):
        values = found.flatten().to_numpy(zero_copy_only=True)
        assert_same(values.reshape(-1, 4), array)
        assert lies_in(values.__array_interface__["data"][0], path)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([1, 300]), pa.int8()),
        (np.array([1, -1]), pa.uint64()),
        (np.array([1.0, 1.5]), pa.int64()),
        (np.array([1.0, np.nan]), pa.int64()),
        (np.array([1, 2**53 + 1]), pa.float64()),
        (np.array([[1, 2], [3, 1000]]), pa.list_(pa.int8(), 2)),
    ],
    ids=str,
)
def test_a_type_that_cannot_hold_the_values(npk, values, wanted):
    npk.save({"a": values})
    with pytest.raises(ValueError):
        array_as(npk.load("a", lazy=True), wanted)
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        table_as(npk, pa.schema([("a", wanted)]))
    assert_same(npk["a"], values)


def test_a_type_that_there_is_no_way_to(npk):
    """The protocol has the producer give what it has; the consumer looks at the schema."""
    array = plain("float32", (6, 4), 1)
    npk.save({"a": array})
    for wanted in (
        pa.date32(),
        pa.int64(),
        pa.list_(pa.float32(), 3),
        pa.struct([("x", pa.int8())]),
    ):
        assert array_as(npk.load("a", lazy=True), wanted).type == LISTS
        assert table_as(npk, pa.schema([("a", wanted)])).schema.field("a").type == LISTS


def test_a_number_is_no_list_of_one(npk):
    npk.save({"a": np.arange(3), "b": np.arange(3.0).reshape(3, 1)})
    for name, wanted, usual in (
        ("a", pa.list_(pa.int64()), pa.int64()),
        ("a", pa.list_(pa.int64(), 1), pa.int64()),
        ("b", pa.float64(), pa.list_(pa.float64(), 1)),
    ):
        assert array_as(npk.load(name, lazy=True), wanted).type == usual


@pytest.mark.parametrize("shape", [(6,), (6, 3)], ids=str)
def test_bool_as_bytes_or_bits(npk, path, shape):
    array = plain("int8", shape, 1) % 2 == 0
    npk.save({"a": array, "b": array})
    of = lambda inner: inner if len(shape) == 1 else pa.list_(inner, 3)  # noqa: E731
    lazy = npk.load("a", lazy=True)
    bits, bytes_ = array_as(lazy, of(pa.bool_())), array_as(lazy, of(pa.bool8()))
    assert bits.type == of(pa.bool_()) and bytes_.type == of(pa.bool8())
    assert bits.to_pylist() == bytes_.to_pylist() == array.tolist()
    # One column a byte a value, over the pages; the other as streams have it.
    table = table_as(npk, pa.schema([("b", of(pa.bool8()))]))
    assert table.schema.field("a").type == of(pa.bool_())
    assert table.schema.field("b").type == of(pa.bool8())
    assert table["a"].to_pylist() == table["b"].to_pylist() == array.tolist()
    inner = table["b"].chunk(0)
    inner = inner.flatten() if len(shape) == 2 else inner
    assert lies_in(inner.storage.buffers()[1].address, path)


def test_a_result_too(npk):
    npk.save({"a": np.arange(4, dtype="i4")})
    result = npk.sql("SELECT a, a * 2 AS twice FROM self ORDER BY a")
    table = table_as(result, pa.schema([("twice", pa.float64())]))
    assert table["twice"].to_pylist() == [0.0, 2.0, 4.0, 6.0]
    assert table.schema.field("twice").type == pa.float64()
    assert table.schema.field("a").type == pa.int32()
    with pytest.raises((ValueError, pa.ArrowInvalid), match="twice"):
        table_as(npk.sql("SELECT a * 1000 AS twice FROM self"), pa.schema([("twice", pa.int8())]))


def test_what_is_no_schema(npk):
    npk.save({"a": np.arange(3)})
    for producer in (npk, npk.table("a"), npk.sql("SELECT a FROM self")):
        with pytest.raises((TypeError, ValueError)):
            producer.__arrow_c_stream__("int64")
    with pytest.raises((TypeError, ValueError)):
        npk.load("a", lazy=True).__arrow_c_array__(3)
    with pytest.raises((TypeError, ValueError)):
        npk.load("a", lazy=True).__arrow_c_array__(npk.__arrow_c_stream__())
