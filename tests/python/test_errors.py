"""Errors: their classes, their names and numbers, and that they leave everything as it was."""

import numpack
import numpy as np
import pytest
from numpack import NumPack
from support import assert_store, listing

MISSING = {
    "load": (lambda npk: npk.load("zz"), KeyError),
    "lazy": (lambda npk: npk.load("zz", lazy=True), (KeyError, RuntimeError)),
    "item": (lambda npk: npk["zz"], KeyError),
    "view": (lambda npk: npk.view("zz"), KeyError),
    "replace": (lambda npk: npk.replace({"zz": np.ones((1, 2))}, [0]), KeyError),
    "append": (lambda npk: npk.append({"zz": np.ones((1, 2))}), (KeyError, ValueError)),
    "getitem": (lambda npk: npk.getitem("zz", [0]), KeyError),
    "get_shape": (lambda npk: npk.get_shape("zz"), KeyError),
    "update": (lambda npk: npk.update("zz"), (KeyError, RuntimeError)),
    "stream_load": (lambda npk: npk.stream_load("zz"), KeyError),
    "rename": (lambda npk: npk.rename("zz", "yy"), KeyError),
    "clone": (lambda npk: npk.clone("zz", "yy"), KeyError),
    "delete": (lambda npk: npk.__delitem__("zz"), KeyError),
}


@pytest.fixture
def store(npk):
    npk.save({"emb": np.arange(20, dtype="f4").reshape(10, 2), "other": np.arange(10)})
    return npk


def unchanged(store):
    assert_store(store, {"emb": np.arange(20, dtype="f4").reshape(10, 2), "other": np.arange(10)})


def only_sentence(error):
    """The text is a sentence: no quotes around it, no tuple, no Rust debug form."""
    text = str(error)
    assert text and text[0] not in "'\"(" and "\n" not in text.strip(), text
    for remnant in ("Some(", "Err(", "{ ", "PyErr", "panicked"):
        assert remnant not in text
    return text


@pytest.mark.parametrize("call", MISSING)
def test_a_missing_array_is_named(store, call):
    action, classes = MISSING[call]
    with pytest.raises(KeyError) as caught:
        action(store)
    assert "zz" in only_sentence(caught.value)
    assert isinstance(caught.value, numpack.NumPackError)
    for expected in classes if isinstance(classes, tuple) else (classes,):
        assert isinstance(caught.value, expected)
    unchanged(store)


def test_dropping_a_missing_name_is_silent(store):
    store.drop("zz")
    store.drop(["zz", "yy"])
    store.drop("zz", [0])
    unchanged(store)


OUTSIDE = [10, -11, [0, 10], np.array([3, -11]), np.int64(99), range(8, 12)]


@pytest.mark.parametrize("index", OUTSIDE, ids=str)
@pytest.mark.parametrize("call", ["replace", "getitem", "drop", "setitem"])
def test_out_of_range_changes_nothing(store, call, index):
    rows = np.zeros((np.size(np.asarray(index)), 2), "f4")
    with pytest.raises(IndexError) as caught:
        if call == "replace":
            store.replace({"emb": rows}, index)
        elif call == "getitem":
            store.getitem("emb", index)
        elif call == "setitem":
            store["emb", index] = rows
        else:
            store.drop("emb", index)
    text = only_sentence(caught.value)
    assert "emb" in text and "10" in text
    if call == "getitem":
        assert isinstance(caught.value, RuntimeError)
    if call == "replace":
        assert isinstance(caught.value, ValueError)
    unchanged(store)


BAD = ["text", 1.5, [1.5], np.array([1.0]), np.array([[1]]), {1}, True, np.True_, [None]]


@pytest.mark.parametrize("index", BAD, ids=repr)
@pytest.mark.parametrize("call", ["replace", "getitem", "drop"])
def test_bad_index_types(store, call, index):
    with pytest.raises((TypeError, ValueError)) as caught:
        if call == "replace":
            store.replace({"emb": np.zeros((1, 2), "f4")}, index)
        elif call == "getitem":
            store.getitem("emb", index)
        else:
            store.drop("emb", index)
    only_sentence(caught.value)
    unchanged(store)


@pytest.mark.parametrize("index", [None, "text", {1}])
def test_the_text_that_code_matches_on(store, index):
    with pytest.raises(
        ValueError, match=r"The indexes must be int or list or numpy\.ndarray or slice"
    ):
        store.replace({"emb": np.zeros((1, 2), "f4")}, index)


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (np.zeros((2, 3), "f4"), ["3", "2"]),
        (np.zeros(2, "f4"), ["1", "2"]),
        (np.zeros((2, 2, 1), "f4"), ["3", "2"]),
        (np.zeros((), "f4"), ["0", "2"]),
    ],
)
@pytest.mark.parametrize("call", ["append", "replace"])
def test_shapes_that_do_not_fit(store, call, values, numbers):
    with pytest.raises(ValueError) as caught:
        if call == "append":
            store.append({"other": np.arange(2), "emb": values})
        else:
            store.replace({"emb": values}, [0, 1])
    text = only_sentence(caught.value)
    assert "emb" in text
    assert any(number in text for number in numbers)
    unchanged(store)


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4", "bool", "c8"])
@pytest.mark.parametrize("call", ["append", "replace", "setitem"])
def test_dtypes_that_differ_name_both(store, call, dtype):
    values = np.zeros((2, 2), dtype)
    with pytest.raises(TypeError) as caught:
        if call == "append":
            store.append({"other": np.arange(2), "emb": values})
        elif call == "setitem":
            store["emb", :2] = values
        else:
            store.replace({"emb": values}, [0, 1])
    text = only_sentence(caught.value)
    assert "emb" in text and "float32" in text and np.dtype(dtype).name in text
    unchanged(store)


@pytest.mark.parametrize("rows", [0, 1, 2, 4])
@pytest.mark.parametrize(
    "index", [[0, 5, 7], slice(0, 3), np.arange(10) > 6, (1, 2, 3), range(3), np.array([2, 2, 1])]
)
def test_row_counts_that_differ(store, index, rows):
    with pytest.raises(ValueError) as caught:
        store.replace({"emb": np.zeros((rows, 2), "f4")}, index)
    text = only_sentence(caught.value)
    assert "emb" in text and str(rows) in text and "3" in text
    unchanged(store)


@pytest.mark.parametrize("empty", [[], (), slice(3, 3), np.zeros(10, bool), np.array([], int)])
def test_rows_for_an_empty_selection_are_an_error(store, empty):
    with pytest.raises(ValueError, match="emb"):
        store.replace({"emb": np.zeros((1, 2), "f4")}, empty)
    store.replace({"emb": np.zeros((0, 2), "f4")}, empty)
    unchanged(store)


@pytest.mark.parametrize("length", [0, 9, 11])
def test_masks_have_the_length_of_the_array(store, length):
    mask = np.zeros(length, bool)
    for call in (
        lambda: store.replace({"emb": np.zeros((0, 2), "f4")}, mask),
        lambda: store.getitem("emb", mask),
        lambda: store.drop("emb", mask),
    ):
        with pytest.raises((IndexError, ValueError)) as caught:
            call()
        assert "emb" in only_sentence(caught.value)
    unchanged(store)


def test_several_arrays_change_together_or_not_at_all(store):
    good = {"other": np.full(2, 99)}
    with pytest.raises(TypeError):
        store.replace({**good, "emb": np.zeros((2, 2), "f8")}, [0, 1])
    with pytest.raises(KeyError):
        store.replace({**good, "zz": np.zeros(2)}, [0, 1])
    with pytest.raises(TypeError):
        store.append({**good, "emb": np.zeros((2, 2), "f8")})
    with pytest.raises(KeyError):
        store.append({**good, "zz": np.zeros(2)})
    with pytest.raises(ValueError):
        store.save({**good, "nul\0": np.zeros(2)})
    unchanged(store)
    store.save({"short": np.arange(3)})
    with pytest.raises(IndexError):
        store.drop(["emb", "short"], [5])
    store.drop("short")
    unchanged(store)


def test_drop_takes_a_name_or_a_list_of_names(store):
    for bad in (("emb",), 3, None):
        with pytest.raises(TypeError):
            store.drop(bad)
    with pytest.raises(TypeError):
        store.drop(["emb", 3])
    unchanged(store)
    store.drop(["emb", "other"])
    assert store.get_member_list() == []


@pytest.mark.parametrize("size", [0, -1, -(10**30)])
def test_stream_buffer_size_is_checked_by_the_call(store, size):
    with pytest.raises(ValueError, match="buffer_size must be greater than 0"):
        store.stream_load("emb", buffer_size=size)


def test_stream_buffer_size_is_an_integer(store):
    with pytest.raises(TypeError):
        store.stream_load("emb", buffer_size=2.5)


@pytest.mark.parametrize("name", ["nul\0inside", "\0", "lone\ud800", "\udfff"])
def test_names_that_no_file_can_have(npk, path, name):
    with pytest.raises(ValueError):
        npk.save({name: np.arange(3)})
    for call in (npk.load, npk.get_shape):
        with pytest.raises((KeyError, ValueError)):
            call(name)
    assert npk.get_member_list() == []


def test_a_name_too_long_for_the_format(npk):
    with pytest.raises(ValueError):
        npk.save({"x" * 70_000: np.arange(3)})
    assert npk.get_member_list() == []


def test_open_of_garbage_is_a_value_error_and_never_a_key_error(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(3)})
    (path / "metadata.npkm").write_bytes(b"garbage" * 9)
    before = listing(path)
    with pytest.raises(numpack.CorruptStoreError) as caught:
        NumPack(path).open()
    assert isinstance(caught.value, ValueError) and not isinstance(caught.value, KeyError)
    assert "metadata.npkm" in only_sentence(caught.value)
    assert listing(path) == before


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("ReadOnlyError", PermissionError),
        ("BusyError", TimeoutError),
        ("ConflictError", RuntimeError),
        ("CorruptStoreError", ValueError),
    ],
)
def test_the_tree_of_errors(name, base):
    error = getattr(numpack, name)
    assert issubclass(error, numpack.NumPackError) and issubclass(error, base)


def test_every_error_class_says_its_sentence():
    classes = [
        value
        for value in vars(numpack).values()
        if isinstance(value, type) and issubclass(value, numpack.NumPackError)
    ]
    assert len(classes) > 5
    for error in classes:
        assert str(error('array "x": 3 rows')) == 'array "x": 3 rows', error
