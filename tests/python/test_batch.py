"""batch_mode and writable_batch_mode: what calls inside see, what leaving commits."""

import numpack
import numpy as np
import pytest
from numpack import ConflictError, NumPack
from support import (
    assert_private,
    assert_same,
    assert_store,
    contents,
    listing,
    run_python,
    sample,
)


@pytest.fixture
def pair(path):
    """Two handles on one store of arrays a (10, 2) and b (5,)."""
    with NumPack(path) as first, NumPack(path) as second:
        first.save({"a": np.arange(20.0).reshape(10, 2), "b": np.arange(5)})
        yield first, second


A = np.arange(20.0).reshape(10, 2)
B = np.arange(5)
# Every call inside a block: what it does, and what the store holds afterwards.
CALLS = {
    "save": (lambda n: n.save({"a": A[:3]}), {"a": A[:3], "b": B}),
    "save new": (lambda n: n.save({"c": B}), {"a": A, "b": B, "c": B}),
    "save twice": (lambda n: (n.save({"b": A}), n.save({"b": B * 2})), {"a": A, "b": B * 2}),
    "setitem": (lambda n: n.__setitem__("b", B + 1), {"a": A, "b": B + 1}),
    "set rows": (lambda n: n.__setitem__(("b", [1, 3]), [7, 8]), {"a": A, "b": [0, 7, 2, 8, 4]}),
    "replace": (
        lambda n: n.replace({"b": np.array([9, 8])}, [-1, 0]),
        {"a": A, "b": [8, 1, 2, 3, 9]},
    ),
    "append": (lambda n: n.append({"b": B}), {"a": A, "b": np.tile(B, 2)}),
    "append twice": (
        lambda n: (n.append({"b": B}), n.append({"b": B[:1], "a": A[:1]})),
        {"a": np.vstack([A, A[:1]]), "b": np.concatenate([B, B, B[:1]])},
    ),
    "drop rows": (lambda n: n.drop("b", [0, -1]), {"a": A, "b": B[1:-1]}),
    "drop": (lambda n: n.drop("b"), {"a": A}),
    "drop all rows": (lambda n: n.drop("b", slice(None)), {"a": A}),
    "delete": (lambda n: n.__delitem__("b"), {"a": A}),
    "drop and save": (lambda n: (n.drop("b"), n.save({"b": A})), {"a": A, "b": A}),
    "save and drop": (lambda n: (n.save({"c": A}), n.drop("c")), {"a": A, "b": B}),
    "drop rows, update": (lambda n: (n.drop("b", [1]), n.update("b")), {"a": A, "b": [0, 2, 3, 4]}),
    "drop rows, append": (
        lambda n: (n.drop("b", [1]), n.append({"b": [9]})),
        {"a": A, "b": [0, 2, 3, 4, 9]},
    ),
    "rename": (lambda n: n.rename("b", "c"), {"a": A, "c": B}),
    "clone": (lambda n: n.clone("b", "c"), {"a": A, "b": B, "c": B}),
    "clone, change": (
        lambda n: (n.clone("b", "c"), n.append({"c": [7]})),
        {"a": A, "b": B, "c": [*B, 7]},
    ),
    "create": (lambda n: n.create("c", (3,), "int64", 4), {"a": A, "b": B, "c": [4, 4, 4]}),
    "reset": (lambda n: n.reset(), {}),
    "reset and save": (lambda n: (n.reset(), n.save({"b": A})), {"b": A}),
    "edit in place": (lambda n: n.load("b").__setitem__(1, 77), {"a": A, "b": [0, 77, 2, 3, 4]}),
    "edit item": (lambda n: n["b"].__setitem__(1, 77), {"a": A, "b": [0, 77, 2, 3, 4]}),
    "nothing": (lambda n: n.load("a"), {"a": A, "b": B}),
}


def wanted(expected):
    return {name: np.asarray(value) for name, value in expected.items()}


@pytest.mark.parametrize("before", [False, True], ids=["cold", "loaded"])
@pytest.mark.parametrize("call", CALLS)
def test_every_call_sees_and_leaves_one_state(pair, path, call, before):
    first, second = pair
    action, expected = CALLS[call]
    expected = wanted(expected)
    with first.batch_mode():
        if before:
            contents(first)
        action(first)
        # This handle sees it by every door.
        assert sorted(first.get_member_list()) == sorted(expected) == sorted(first)
        assert len(first) == len(expected)
        for name in ("a", "b", "c"):
            assert first.has_array(name) is (name in expected) is (name in first)
        for name, array in expected.items():
            assert first.get_shape(name) == array.shape
            assert_same(first.load(name), array)
            assert_same(first[name], array)
            assert_same(first.load(name, lazy=True), array)
            assert_same(first.getitem(name, slice(None)), array)
            assert_same(first.getitem(name, [-1, 0]), array[[-1, 0]])
            assert_same(np.concatenate(list(first.stream_load(name, 4))), array)
            assert_same(first.load([name])[name], array)
            assert_same(first.snapshot()[name], array)
            assert first.get_metadata()["arrays"][name]["dtype"]
        assert_store(second, {"a": A, "b": B})
    assert_store(first, expected)
    assert_store(second, expected)
    first.close()
    with NumPack(path) as again:
        assert_store(again, expected)


@pytest.mark.parametrize("call", CALLS)
def test_rollback_leaves_the_old_state(pair, path, call):
    first, second = pair
    with pytest.raises(ZeroDivisionError), first.batch_mode(rollback=True):
        CALLS[call][0](first)
        raise ZeroDivisionError
    for npk in (first, second):
        assert_store(npk, {"a": A, "b": B})
    assert first.get_member_list() == ["a", "b"]


@pytest.mark.parametrize("call", CALLS)
def test_an_exception_commits_what_was_done(pair, call):
    first, second = pair
    with pytest.raises(ZeroDivisionError), first.batch_mode():
        CALLS[call][0](first)
        raise ZeroDivisionError
    for npk in (first, second):
        assert_store(npk, wanted(CALLS[call][1]))


def test_rollback_without_an_exception_commits(pair):
    first, second = pair
    with first.batch_mode(rollback=True):
        first.save({"b": A})
    assert_store(second, {"a": A, "b": A})


def test_load_gives_the_same_array_each_time(pair):
    first, _ = pair
    with first.batch_mode():
        one = first.load("a")
        assert first.load("a") is one and first["a"] is one
        one[:3] *= 2
        assert_same(first.getitem("a", [1]), A[[1]] * 2)
        first.append({"a": A[:1]})
        assert_same(first.load("a")[:3], A[:3] * 2)
        assert_same(first.load("a")[10:], A[:1])


def test_edits_of_one_array_survive_the_save_of_another(pair):
    first, second = pair
    with first.batch_mode():
        first.load("a")[0] = 5
        first.save({"b": B * 3})
        first.load("a")[1] = 6
    expected = A.copy()
    expected[0], expected[1] = 5, 6
    assert_store(second, {"a": expected, "b": B * 3})


def test_the_documented_loop(pair):
    first, second = pair
    expected = A.copy()
    with first.batch_mode():
        for _ in range(100):
            array = first.load("a")
            array[:10] *= 1.01
            first.save({"a": array})
            expected[:10] *= 1.01
    assert_store(second, {"a": expected, "b": B})


def test_a_block_over_deleted_rows(pair):
    first, second = pair
    first.drop("a", [0, 4])
    expected = np.delete(A, [0, 4], axis=0)
    with first.batch_mode():
        array = first.load("a")
        array[1] = -1
        first.save({"a": array})
    expected[1] = -1
    assert_store(second, {"a": expected, "b": B})
    with first.batch_mode():
        first.load("a")[0] = -2
        first.drop("a", [3])
    expected[0] = -2
    assert_store(second, {"a": np.delete(expected, 3, axis=0), "b": B})


def test_nested_blocks_join_the_outer_one(pair):
    first, second = pair
    with first.batch_mode():
        first.save({"b": B + 1})
        with first.batch_mode():
            first.append({"b": [99]})
        assert_store(second, {"a": A, "b": B})
        assert_same(first.load("b"), np.array([1, 2, 3, 4, 5, 99]))
        first.load("b")[0] = 50
    assert_store(second, {"a": A, "b": np.array([50, 2, 3, 4, 5, 99])})


def test_errors_inside_a_block_change_nothing(pair):
    first, second = pair
    with first.batch_mode():
        for action, error in (
            (lambda: first.replace({"a": np.zeros((1, 2))}, [10]), IndexError),
            (lambda: first.append({"a": np.zeros((1, 3))}), ValueError),
            (lambda: first.append({"b": [1], "a": np.zeros((1, 2), "f4")}), TypeError),
            (lambda: first.save({"b": A, "c": np.array(["x"])}), TypeError),
            (lambda: first.load("zz"), KeyError),
            (lambda: first.getitem("a", [-11]), IndexError),
            (lambda: first.drop("a", [99]), IndexError),
            (lambda: first.rename("a", "b"), ValueError),
            (lambda: first.batch_mode(memory_limit=-1), ValueError),
            (lambda: first.save([1]), ValueError),
        ):
            with pytest.raises(error):
                action()
        assert_store(first, {"a": A, "b": B})
    assert_store(second, {"a": A, "b": B})


def test_a_conflict_with_another_handle_writes_nothing(pair):
    first, second = pair
    with pytest.raises(numpack.ConflictError, match="a") as caught, first.batch_mode():
        first.load("a")[0] = 5
        first.save({"b": B * 3, "c": B})
        second.replace({"a": np.array([[7.0, 7.0]])}, [3])
    assert isinstance(caught.value, RuntimeError)
    expected = A.copy()
    expected[3] = 7
    for npk in pair:
        assert_store(npk, {"a": expected, "b": B})


def test_a_conflict_with_another_process(pair, path):
    first, _ = pair
    writer = (
        "import sys, numpy as np\nfrom numpack import NumPack\n"
        "with NumPack(sys.argv[1]) as npk: npk.append({'b': np.array([70])})"
    )
    with pytest.raises(numpack.ConflictError, match="b"), first.batch_mode():
        first.load("b")[0] = 5
        run_python(writer, path)
    assert_store(first, {"a": A, "b": np.append(B, 70)})


def test_other_arrays_may_change_meanwhile(pair):
    first, second = pair
    with first.batch_mode():
        first.load("a")[0] = 5
        second.append({"b": [9]})
        second.save({"new": B})
    expected = A.copy()
    expected[0] = 5
    assert_store(first, {"a": expected, "b": np.append(B, 9), "new": B})


def test_a_memory_limit_spills(path):
    arrays = {f"n{k}": np.full((1 << 18,), k, "f8") for k in range(12)}
    with NumPack(path) as npk:
        npk.save(arrays)
        with npk.batch_mode(memory_limit=4):
            for name in arrays:
                npk.load(name)[5] = -1
                npk.append({name: np.zeros(3)})
            for name in arrays:
                assert npk.load(name)[5] == -1 and npk.get_shape(name) == ((1 << 18) + 3,)
            with NumPack(path) as other:
                assert_store(other, arrays)
        for name, array in arrays.items():
            expected = np.append(array, np.zeros(3))
            expected[5] = -1
            assert_same(npk.load(name), expected)
        names = {entry.name for entry in path.iterdir()}
        assert names <= {"metadata.npkm", ".npk"} | {f"data_{name}.npkd" for name in arrays}


def test_rollback_of_a_spilled_block(path):
    arrays = {f"n{k}": np.full((1 << 18,), k, "f8") for k in range(6)}
    with NumPack(path) as npk:
        npk.save(arrays)
        with pytest.raises(ZeroDivisionError), npk.batch_mode(memory_limit=2, rollback=True):
            for name in arrays:
                npk.load(name)[5] = -1
            raise ZeroDivisionError
        assert_store(npk, arrays)


def test_close_inside_a_block(path):
    npk = NumPack(path)
    npk.open()
    npk.save({"a": A})
    with npk.batch_mode():
        npk.load("a")[0] = 5
        npk.close()
    npk.open()
    expected = A.copy()
    expected[0] = 5
    assert_store(npk, {"a": expected})
    npk.close()


def test_arrays_of_a_block_stay_valid_and_private(pair):
    first, _ = pair
    with first.batch_mode():
        array = first.load("a")
        array[0] = 5
    array[1] = 6
    assert_private(array)
    expected = A.copy()
    expected[0] = 5
    assert_store(first, {"a": expected, "b": B})


def test_saving_the_callers_array_keeps_it_the_callers(pair):
    first, second = pair
    mine = B * 2
    with first.batch_mode():
        first.save({"b": mine})
    mine[:] = 0
    assert_store(second, {"a": A, "b": B * 2})


def test_an_unchanged_block_writes_nothing(pair, path):
    first, _ = pair
    before = listing(path)
    with first.batch_mode():
        contents(first)
    with first.writable_batch_mode() as batch:
        batch.load("a")
    assert listing(path) == before


class TestWritable:
    def test_what_changes_is_committed_once(self, pair, path):
        first, second = pair
        lazy, view = first.load("a", lazy=True), first.view("a")
        expected = A.copy()
        with first.writable_batch_mode() as batch:
            array = batch.load("a")
            assert array.flags.writeable
            assert_private(array)
            for _ in range(10):
                batch.load("a")[:3] *= 2
                expected[:3] *= 2
            assert batch.load("a") is array
            batch.load("b")[1] = 70
            assert batch.save({"a": array}) is None
            assert_store(second, {"a": A, "b": B})
        changed = B.copy()
        changed[1] = 70
        assert_store(first, {"a": expected, "b": changed})
        assert_store(second, {"a": expected, "b": changed})
        assert_same(lazy, A)
        assert_same(view, A)

    def test_the_array_outlives_the_block_as_a_private_copy(self, pair):
        first, second = pair
        with first.writable_batch_mode() as batch:
            array = batch.load("a")
            array[0] = 5
        array[1] = 6
        first.close()
        array[2] = 7
        assert array[1, 0] == 6 and array[9, 1] == 19
        assert_private(array)
        expected = A.copy()
        expected[0] = 5
        assert_store(second, {"a": expected, "b": B})
        first.open()

    def test_deletions_are_respected(self, pair):
        first, second = pair
        first.drop("a", [0, 3])
        expected = np.delete(A, [0, 3], axis=0)
        with first.writable_batch_mode() as batch:
            array = batch.load("a")
            assert_same(array, expected)
            array[2] = -1
        expected[2] = -1
        assert_store(second, {"a": expected, "b": B})

    @pytest.mark.parametrize("shape", [(), (0,), (0, 5), (5, 0)], ids=str)
    def test_small_shapes(self, npk, shape):
        npk.save({"a": np.zeros(shape)})
        with npk.writable_batch_mode() as batch:
            array = batch.load("a")
            array[...] = 4
        assert_store(npk, {"a": np.full(shape, 4.0)})

    def test_missing_arrays(self, pair):
        first, _ = pair
        with first.writable_batch_mode() as batch, pytest.raises(KeyError, match="zz"):
            batch.load("zz")

    def test_another_writer_is_a_conflict(self, pair):
        first, second = pair
        with pytest.raises(numpack.ConflictError, match="a"), first.writable_batch_mode() as batch:
            batch.load("a")[0] = 5
            batch.load("b")[0] = 5
            second.append({"a": A[:1]})
        assert_store(second, {"a": np.vstack([A, A[:1]]), "b": B})

    def test_large_arrays_commit_exactly_what_changed(self, path):
        array = sample("float32", (100_000, 16))
        with NumPack(path) as npk:
            npk.save({"a": array})
            with npk.writable_batch_mode() as batch:
                writable = batch.load("a")
                for row in (0, 511, 99_999):
                    writable[row] = row
            for row in (0, 511, 99_999):
                array[row] = row
            assert_store(npk, {"a": array})
        with NumPack(path) as npk:
            assert_store(npk, {"a": array})

    def test_the_classes_of_the_module(self, pair, path):
        from numpack.writable_array import WritableArray, WritableBatchMode

        first, _ = pair
        with WritableBatchMode(first) as batch:
            batch.load("b")[0] = 9
        assert first["b"][0] == 9
        raw = path.parent / "raw.bin"
        np.arange(6, dtype="f4").tofile(raw)
        with WritableArray(raw, (3, 2), np.float32) as array:
            array[1] = 50
        assert_same(np.fromfile(raw, "f4"), np.array([0, 1, 50, 50, 4, 5], "f4"))


class TestNamesThatOthersTake:
    """What a block has seen to be free must be so when it ends."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda n: n.create("x", (4,), "f8"),
            lambda n: n.clone("a", "x"),
            lambda n: (n.create("y", (4,), "f8"), n.rename("y", "x")),
            lambda n: (n.save({"y": np.ones(3)}), n.rename("y", "x")),
        ],
    )
    def test_a_name_made_meanwhile_is_a_conflict(self, path, change):
        with NumPack(path) as npk, NumPack(path) as other:
            npk.save({"a": np.arange(3)})
            with pytest.raises(ConflictError, match="x"), npk.batch_mode():
                change(npk)
                other.save({"x": np.arange(9)})
            assert_store(npk, {"a": np.arange(3), "x": np.arange(9)})

    def test_what_is_saved_goes_over_it(self, path):
        with NumPack(path) as npk, NumPack(path) as other:
            with npk.batch_mode():
                npk.save({"x": np.ones(3)})
                other.save({"x": np.arange(9)})
            assert_store(npk, {"x": np.ones(3)})

    def test_a_name_dropped_in_the_block_is_free(self, path):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(3), "b": np.arange(4)})
            with npk.batch_mode():
                npk.drop("a")
                npk.create("a", (2,), "f8")
                npk.rename("b", "c")
                npk.clone("c", "b")
            assert_store(npk, {"a": np.zeros(2), "b": np.arange(4), "c": np.arange(4)})


def test_edits_of_an_array_renamed_there_and_back(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(3)})
        with npk.batch_mode():
            npk.rename("a", "t")
            npk.load("t")[0] = 9
            npk.rename("t", "a")
        assert_store(npk, {"a": np.array([9, 1, 2])})


def test_edits_through_a_part_of_a_view_are_kept_under_a_memory_limit(path):
    with NumPack(path) as npk:
        with npk.batch_mode(memory_limit=1):
            npk.save({"a": np.zeros(12).reshape(4, 3)})
            row = npk.load("a")[0]
            npk.save({"b": np.ones(400_000)})
            npk.load("b")
            row[:] = 7
        assert_same(npk.load("a")[0], np.full(3, 7.0))


@pytest.mark.parametrize(
    "other",
    [
        lambda a: a.T,
        lambda a: a[::-1],
        lambda a: a[:1],
        lambda a: a.reshape(-1)[4:],
        lambda a: np.lib.stride_tricks.as_strided(a, (4, 5), (8, 8)),
    ],
)
def test_replacing_rows_of_one_array_leaves_those_that_share_its_memory(path, other):
    first = np.arange(25.0).reshape(5, 5)
    second = other(first)
    expected = {"a": first.copy(), "b": second.copy()}
    with NumPack(path) as npk:
        with npk.batch_mode():
            npk.save({"a": first, "b": second})
            for name in ("a", "b"):
                rows = np.full((1, *expected[name].shape[1:]), -1.0)
                npk.replace({name: rows}, [0])
                expected[name][0] = -1
        assert_store(npk, expected)
