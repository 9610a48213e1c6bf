"""The store's life, its names and its errors: constructor, open and close, save, load, members."""

import contextlib
import gc
import os
import pickle
import shutil
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpack
import numpy as np
import pytest
from numpack import ArrayExistsError, NumPack
from support import DTYPES, SHAPES, assert_private, assert_same, assert_store, listing, sample

CALLS_ON_OPEN = {
    "save": lambda npk: npk.save({"a": np.arange(3)}),
    "load": lambda npk: npk.load("a"),
    "lazy": lambda npk: npk.load("a", lazy=True),
    "item": lambda npk: npk["a"],
    "replace": lambda npk: npk.replace({"a": np.arange(1)}, [0]),
    "append": lambda npk: npk.append({"a": np.arange(1)}),
    "drop": lambda npk: npk.drop("a"),
    "getitem": lambda npk: npk.getitem("a", [0]),
    "get_shape": lambda npk: npk.get_shape("a"),
    "get_member_list": lambda npk: npk.get_member_list(),
    "get_modify_time": lambda npk: npk.get_modify_time("a"),
    "get_metadata": lambda npk: npk.get_metadata(),
    "has_array": lambda npk: npk.has_array("a"),
    "reset": lambda npk: npk.reset(),
    "update": lambda npk: npk.update("a"),
    "stream_load": lambda npk: npk.stream_load("a"),
    "iter": lambda npk: list(iter(npk)),
    "view": lambda npk: npk.view("a"),
    "create": lambda npk: npk.create("b", (2,), "int8"),
    "rename": lambda npk: npk.rename("a", "b"),
    "clone": lambda npk: npk.clone("a", "b"),
    "attrs": lambda npk: npk.attrs,
    "array_attrs": lambda npk: npk.array_attrs("a"),
    "locked": lambda npk: npk.locked().__enter__(),
    "checkpoint": lambda npk: npk.checkpoint(),
    "stats": lambda npk: npk.stats(),
    "copy_to": lambda npk: npk.copy_to(npk.path + "-copy"),
    "backup": lambda npk: npk.backup(npk.path + "-backup"),
}


class TestLife:
    def test_the_constructor_touches_nothing(self, path):
        npk = NumPack(path)
        assert not path.exists()
        assert npk.is_closed and not npk.is_opened
        assert npk.backend_type == "rust"

    def test_five_options_by_position(self, path):
        npk = NumPack(path, False, False, False, False)
        npk.open()
        npk.close()

    @pytest.mark.parametrize("bad", [None, 3])
    def test_a_path_is_text_or_pathlike(self, bad):
        with pytest.raises(TypeError):
            NumPack(bad)

    def test_text_and_pathlike_name_the_same_store(self, path):
        with NumPack(str(path)) as npk:
            npk.save({"a": np.arange(3)})
        with NumPack(Path(path)) as npk:
            assert npk.get_member_list() == ["a"]

    def test_open_makes_parents_and_is_idempotent(self, tmp_path):
        npk = NumPack(tmp_path / "deep" / "deeper" / "store")
        assert npk.open() is None
        npk.open()
        assert npk.is_opened and not npk.is_closed
        assert npk.close() is None
        npk.close()
        assert npk.is_closed

    def test_a_regular_file_is_no_store(self, path):
        path.write_bytes(b"text")
        with pytest.raises(FileExistsError):
            NumPack(path).open()
        assert path.read_bytes() == b"text"

    def test_reopening_keeps_everything(self, path):
        npk = NumPack(path)
        for turn in range(4):
            npk.open()
            npk.save({f"a{turn}": np.full(3, turn)})
            npk.close()
            with npk as entered:
                assert entered is npk
                assert npk.get_member_list() == [f"a{k}" for k in range(turn + 1)]
            assert npk.is_closed

    def test_a_store_closes_when_an_exception_leaves_with(self, path):
        with pytest.raises(ZeroDivisionError), NumPack(path) as npk:
            npk.save({"a": np.arange(3)})
            raise ZeroDivisionError
        assert npk.is_closed
        with npk:
            assert_store(npk, {"a": np.arange(3)})

    def test_drop_if_exists_acts_once(self, path):
        with NumPack(path) as npk:
            npk.save({"old": np.arange(3)})
        npk = NumPack(path, drop_if_exists=True)
        npk.open()
        assert npk.get_member_list() == []
        npk.save({"new": np.arange(4)})
        npk.close()
        npk.open()
        assert npk.get_member_list() == ["new"]
        npk.close()

    @pytest.mark.parametrize("options", [{"drop_if_exists": True}, {"mode": "w"}])
    def test_a_directory_with_other_files_is_never_deleted(self, tmp_path, options):
        (tmp_path / "thesis.txt").write_text("years of work")
        (tmp_path / "sub").mkdir()
        before = listing(tmp_path)
        with pytest.raises(ValueError):
            NumPack(tmp_path, **options).open()
        assert listing(tmp_path) == before

    @pytest.mark.parametrize("options", [{"drop_if_exists": True}, {"mode": "w"}])
    def test_a_store_beside_other_files_is_never_deleted(self, path, options):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(3)})
        (path / "notes.txt").write_text("mine")
        with pytest.raises(ValueError) as caught:
            NumPack(path, **options).open()
        assert "notes.txt" in str(caught.value)
        with NumPack(path) as npk:
            assert_store(npk, {"a": np.arange(3)})

    @pytest.mark.parametrize("call", CALLS_ON_OPEN)
    def test_use_before_open_and_after_close(self, path, call):
        npk = NumPack(path)
        with pytest.raises(RuntimeError, match="not opened or has been closed"):
            CALLS_ON_OPEN[call](npk)
        with npk:
            npk.save({"a": np.arange(3)})
        with pytest.raises(RuntimeError, match="not opened or has been closed"):
            CALLS_ON_OPEN[call](npk)

    @pytest.mark.parametrize("call", CALLS_ON_OPEN)
    def test_strict_handles_work_only_inside_with(self, path, call):
        npk = NumPack(path, strict_context_mode=True)
        with npk:
            npk.save({"a": np.arange(3)})
            CALLS_ON_OPEN[call](npk)
        npk.open()
        with pytest.raises(RuntimeError, match="strict context mode"):
            CALLS_ON_OPEN[call](npk)
        npk.close()

    def test_the_warning_is_asked_for(self, path):
        with pytest.warns(UserWarning, match="strict context mode"):
            NumPack(path, warn_no_context=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            NumPack(path)
            NumPack(path, warn_no_context=False)
            NumPack(path, strict_context_mode=True, warn_no_context=True)

    def test_repr_names_path_and_count(self, path):
        npk = NumPack(path)
        assert str(path) in repr(npk) and "closed" in repr(npk)
        with npk:
            npk.save({"a": np.arange(3), "b": np.arange(4)})
            assert str(path) in repr(npk) and "arrays=2" in repr(npk)

    def test_close_of_a_removed_directory_is_silent(self, path, capfd):
        npk = NumPack(path)
        npk.open()
        npk.save({"a": np.arange(3)})
        shutil.rmtree(path)
        npk.close()
        npk.close(force_gc=True)
        assert not path.exists()
        assert capfd.readouterr() == ("", "")

    def test_a_forgotten_handle_is_silent_and_loses_nothing(self, path, capfd):
        npk = NumPack(path)
        npk.open()
        npk.save({"a": np.arange(3)})
        del npk
        gc.collect()
        NumPack(path).__del__()
        assert capfd.readouterr() == ("", "")
        with NumPack(path) as npk:
            assert_store(npk, {"a": np.arange(3)})

    def test_force_gc_on_close(self, path):
        npk = NumPack(path, force_gc_on_close=True)
        npk.open()
        npk.close()
        assert numpack.force_cleanup_windows_handles() is True


class TestModes:
    @pytest.mark.parametrize("mode", ["r", "r+"])
    def test_reading_modes_need_a_store(self, path, mode):
        with pytest.raises(FileNotFoundError, match=r"store\.npk"):
            NumPack(path, mode=mode).open()
        assert not path.exists()
        path.mkdir()
        with pytest.raises(FileNotFoundError):
            NumPack(path, mode=mode).open()
        assert list(path.iterdir()) == []

    def test_x_needs_none(self, path):
        with NumPack(path, mode="x") as npk:
            npk.save({"a": np.arange(3)})
        before = listing(path)
        with pytest.raises(FileExistsError):
            NumPack(path, mode="x").open()
        assert listing(path) == before

    def test_w_starts_empty_once(self, path):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(3)})
        npk = NumPack(path, mode="w")
        npk.open()
        assert npk.get_member_list() == []
        npk.save({"b": np.arange(3)})
        npk.close()
        npk.open()
        assert npk.get_member_list() == ["b"]
        npk.close()

    def test_r_plus_writes(self, path):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(3)})
        with NumPack(path, mode="r+") as npk:
            npk.append({"a": np.arange(2)})
            assert npk.get_shape("a") == (5,)

    @pytest.mark.parametrize(
        "write",
        [
            lambda npk: npk.save({"a": np.arange(3)}),
            lambda npk: npk.append({"a": np.arange(3)}),
            lambda npk: npk.replace({"a": np.arange(1)}, [0]),
            lambda npk: npk.drop("a"),
            lambda npk: npk.drop("a", [0]),
            lambda npk: npk.update("a"),
            lambda npk: npk.reset(),
            lambda npk: npk.rename("a", "b"),
            lambda npk: npk.clone("a", "b"),
            lambda npk: npk.create("b", (3,), "int8"),
            lambda npk: npk.__setitem__("a", np.arange(3)),
            lambda npk: npk.__setitem__(("a", 0), 1),
            lambda npk: npk.__delitem__("a"),
        ],
    )
    def test_r_never_writes_a_byte(self, path, write):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(3), "b2": np.arange(5)})
            npk.drop("b2", [1])
        before = listing(path)
        with NumPack(path, mode="r") as npk:
            assert_same(npk["a"], np.arange(3))
            with pytest.raises(numpack.ReadOnlyError, match=r"store\.npk") as caught:
                write(npk)
            assert isinstance(caught.value, PermissionError)
            assert_store(npk, {"a": np.arange(3), "b2": np.array([0, 2, 3, 4])})
        assert listing(path) == before

    @pytest.mark.parametrize(
        "options",
        [
            {"mode": "rw"},
            {"mode": ""},
            {"durability": "maybe"},
            {"lock_timeout": -1.0},
            {"lock_timeout": float("nan")},
        ],
    )
    def test_bad_options_name_themselves(self, path, options):
        with pytest.raises(ValueError) as caught:
            NumPack(path, **options).open()
        assert next(iter(options)) in str(caught.value)
        assert not path.exists()

    def test_new_options_are_keyword_only(self, path):
        with pytest.raises(TypeError):
            NumPack(path, False, False, False, False, "r")

    def test_network_fs_is_an_option_that_goes_along(self, path):
        with NumPack(path, network_fs=True) as npk:
            npk.save({"a": np.arange(3)})
            assert npk.__getstate__()["network_fs"] is True
            with pickle.loads(pickle.dumps(npk)) as other:
                assert other.__getstate__()["network_fs"] is True
                other.append({"a": np.arange(2)})
            assert npk.load("a").shape == (5,)

    @pytest.mark.parametrize("durability", ["commit", "none", "full"])
    @pytest.mark.parametrize("lock_timeout", [0, 0.5, 30.0])
    def test_durability_and_lock_timeout(self, path, durability, lock_timeout):
        with NumPack(path, durability=durability, lock_timeout=lock_timeout) as npk:
            npk.save({"a": np.arange(3)})
            npk.append({"a": np.arange(2)})
            npk.drop("a", 0)
            npk.sync()
        with NumPack(path) as npk:
            assert_store(npk, {"a": np.array([1, 2, 0, 1])})


class TestSaveAndLoad:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_every_dtype_and_rank_round_trips(self, path, dtype, shape):
        array = sample(dtype, shape)
        with NumPack(path) as npk:
            assert npk.save({"a": array}) is None
            assert_store(npk, {"a": array})
        with NumPack(path) as npk:
            assert_store(npk, {"a": array})

    @pytest.mark.parametrize("copy", [None, True])
    def test_load_is_private_writable_and_contiguous(self, npk, copy):
        array = sample("float32", (50, 3))
        npk.save({"a": array})
        loaded = npk.load("a", copy=copy)
        assert type(loaded) is np.ndarray
        assert loaded.flags.c_contiguous and loaded.flags.writeable and loaded.flags.aligned
        assert_private(loaded)
        loaded[...] = 0
        assert_same(npk.load("a"), array)

    def test_load_without_copy(self, npk):
        array = sample("int32", (50, 3))
        npk.save({"a": array})
        loaded = npk.load("a", copy=False)
        assert_private(loaded)
        loaded[...] = 0
        assert_same(npk.load("a"), array)
        npk.drop("a", [3])
        with pytest.raises(ValueError, match="update"):
            npk.load("a", copy=False)

    def test_load_several_at_one_instant(self, npk):
        arrays = {"b": np.arange(3), "a": np.ones((2, 2)), "c": np.float16(3) * np.ones(())}
        npk.save(arrays)
        loaded = npk.load(["a", "c"])
        assert list(loaded) == ["a", "c"]
        assert_same(loaded["a"], arrays["a"])
        assert_same(loaded["c"], arrays["c"])
        assert npk.load([]) == {}
        with pytest.raises(KeyError, match="zz"):
            npk.load(["a", "zz"])

    def test_snapshot_is_one_instant(self, npk):
        npk.save({"b": np.arange(3), "a": np.ones((2, 2))})
        snapshot = npk.snapshot()
        npk.save({"a": np.zeros(5), "new": np.zeros(1)})
        npk.drop("b")
        assert list(snapshot) == ["b", "a"]
        assert_same(snapshot["a"], np.ones((2, 2)))
        assert_same(snapshot["b"], np.arange(3))

    def test_lists_and_scalars_are_converted(self, npk):
        npk.save({"list": [[1, 2], [3, 4]], "scalar": 2.5, "numpy": np.float32(1.5), "flag": True})
        assert_same(npk["list"], np.array([[1, 2], [3, 4]]))
        assert_same(npk["scalar"], np.array(2.5))
        assert_same(npk["numpy"], np.array(1.5, np.float32))
        assert_same(npk["flag"], np.array(True))

    @pytest.mark.parametrize("value", [None, 3, [1], "a", np.arange(3)])
    def test_save_wants_a_dictionary(self, npk, value):
        for call in (npk.save, npk.append):
            with pytest.raises(ValueError, match="arrays must be a dictionary"):
                call(value)

    def test_an_empty_dictionary_is_nothing(self, npk):
        npk.save({})
        assert npk.get_member_list() == []

    @pytest.mark.parametrize(
        "bad",
        [
            np.array(["text"]),
            np.array([b"bytes"]),
            np.array([object()]),
            np.array(["2020-01-01"], "M8[D]"),
            np.array([1], "m8[s]"),
            np.zeros(2, [("x", "i4")]),
            np.zeros(2, np.longdouble),
            np.zeros(2, np.clongdouble),
        ],
        ids=lambda bad: bad.dtype.name,
    )
    def test_an_unsupported_dtype_saves_nothing(self, npk, bad):
        with pytest.raises(TypeError) as caught:
            npk.save({"good": np.arange(3), "bad": bad})
        assert isinstance(caught.value, ValueError)
        assert "bad" in str(caught.value) and bad.dtype.name in str(caught.value)
        assert npk.get_member_list() == []

    @pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
    def test_names_are_text(self, npk, key):
        with pytest.raises(TypeError):
            npk.save({"good": np.arange(3), key: np.arange(3)})
        assert npk.get_member_list() == []

    def test_saving_over_changes_shape_and_dtype(self, npk):
        for array in (np.arange(5), np.ones((2, 3), "f2"), np.zeros(()), np.arange(9, dtype="u1")):
            npk.save({"a": array})
            assert_store(npk, {"a": array})


class TestMembers:
    def test_order_is_that_of_the_first_save(self, path):
        names = [f"n{k}" for k in (5, 1, 9, 2, 7, 0)]
        with NumPack(path) as npk:
            for name in names:
                npk.save({name: np.arange(3)})
            npk.save({"n9": np.arange(8), "n5": np.ones(1)})
            assert npk.get_member_list() == names
        for _ in range(3):
            with NumPack(path) as npk:
                assert npk.get_member_list() == names == list(npk)
                npk.append({"n1": np.arange(1)})

    def test_mapping_manners(self, npk):
        arrays = {"b": np.arange(3), "a": np.ones((2, 2))}
        npk.save(arrays)
        assert len(npk) == 2
        assert "a" in npk and "zz" not in npk
        assert list(npk) == list(npk.keys()) == ["b", "a"]
        assert [value.shape for value in npk.values()] == [(3,), (2, 2)]
        for name, value in npk.items():
            assert_same(value, arrays[name])
        npk["c"] = [1, 2, 3]
        assert_same(npk["c"], np.array([1, 2, 3]))
        del npk["b"]
        assert list(npk) == ["a", "c"]
        with pytest.raises(KeyError, match="b"):
            del npk["b"]

    def test_a_store_is_always_true(self, path):
        npk = NumPack(path)
        assert bool(npk) is True
        with npk:
            assert bool(npk) is True and len(npk) == 0

    def test_a_store_is_no_registered_mapping(self, npk):
        from collections.abc import Mapping

        assert not isinstance(npk, Mapping)

    def test_get_metadata(self, npk, path):
        npk.save({"a": np.ones((10, 2), "f4"), "flag": np.array(True)})
        npk.drop("a", [1, 2])
        metadata = npk.get_metadata()
        assert metadata["total_arrays"] == 2
        assert Path(metadata["base_dir"]) == path
        entry = metadata["arrays"]["a"]
        assert entry["shape"] == [10, 2] and entry["size_bytes"] == 80 and entry["deleted"] == 2
        assert entry["dtype"] == "Float32" and entry["data_file"] == "data_a.npkd"
        assert entry["last_modified"] == npk.get_modify_time("a")
        assert metadata["arrays"]["flag"]["shape"] == []
        assert metadata["arrays"]["flag"]["dtype"] == "Bool"

    def test_modify_time_in_microseconds(self, npk):
        before = time.time_ns() // 1000 - 1
        npk.save({"a": np.arange(3)})
        first = npk.get_modify_time("a")
        assert isinstance(first, int) and before <= first <= time.time_ns() // 1000 + 1
        npk.append({"a": np.arange(3)})
        assert npk.get_modify_time("a") >= first
        assert npk.get_modify_time("zz") is None

    def test_shape_and_has_array(self, npk):
        npk.save({"a": np.ones((4, 2)), "zero": np.array(1)})
        assert npk.get_shape("a") == (4, 2) and type(npk.get_shape("a")) is tuple
        assert all(type(size) is int for size in npk.get_shape("a"))
        assert npk.get_shape("zero") == ()
        assert npk.has_array("a") is True and npk.has_array("zz") is False

    def test_backend(self, npk):
        info = numpack.get_backend_info()
        assert info["backend_type"] == "rust" and info["version"] == numpack.__version__
        assert info["is_windows"] is (os.name == "nt") and "platform" in info
        assert npk.get_io_stats()["backend_type"] == "rust"

    def test_reset_empties_the_store_and_nothing_else(self, npk, path):
        npk.save({"a": np.arange(9), "b": np.arange(3)})
        npk.drop("a", [0])
        (path / "foreign.npkd").write_bytes(b"not ours")
        npk.reset()
        assert npk.get_member_list() == []
        assert (path / "foreign.npkd").read_bytes() == b"not ours"
        npk.save({"a": np.arange(5)})
        assert_store(npk, {"a": np.arange(5)})

    def test_rename(self, path):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(5), "b": np.arange(3)})
            npk.drop("a", [0])
            npk.rename("a", "c")
            with pytest.raises(KeyError, match="zz"):
                npk.rename("zz", "y")
            with pytest.raises(ValueError, match="b"):
                npk.rename("c", "b")
            assert_store(npk, {"c": np.arange(1, 5), "b": np.arange(3)})
        with NumPack(path) as npk:
            assert_store(npk, {"c": np.arange(1, 5), "b": np.arange(3)})

    def test_creating_waits_and_then_looks(self, path):
        """What somebody makes while `create` waits for the lock stays."""
        with NumPack(path) as npk, NumPack(path) as other:
            with ThreadPoolExecutor() as pool:
                with npk.locked():
                    waiting = pool.submit(lambda: other.create("x", (4,), "f8"))
                    time.sleep(0.2)
                    npk.save({"x": np.arange(4)})
                with pytest.raises(ArrayExistsError, match="x"):
                    waiting.result()
            assert_store(npk, {"x": np.arange(4)})

    def test_a_name_that_is_given_twice_is_dropped_once(self, npk):
        npk.save({"a": np.arange(5), "b": np.arange(5)})
        npk.drop(["a", "b", "a"], [0])
        assert_store(npk, {"a": np.arange(1, 5), "b": np.arange(1, 5)})
        npk.drop(["a", "a"], slice(None))
        assert_store(npk, {"b": np.arange(1, 5)})

    @pytest.mark.parametrize("rows", [10, 9000, 200_000])
    def test_saving_under_the_name_that_a_renamed_array_had(self, path, rows):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(rows)})
            npk.rename("a", "b")
            npk.save({"a": np.zeros(rows)})
            npk.rename("a", "c")
            npk.save({"a": np.ones(rows // 2)})
            expected = {"b": np.arange(rows), "c": np.zeros(rows), "a": np.ones(rows // 2)}
            assert_store(npk, expected)
        with NumPack(path) as npk:
            assert_store(npk, expected)

    def test_clone(self, path):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(5)})
            npk.drop("a", [0])
            npk.clone("a", "b")
            npk.append({"b": np.array([9])})
            assert_store(npk, {"a": np.arange(1, 5), "b": np.array([1, 2, 3, 4, 9])})
            with pytest.raises(KeyError, match="zz"):
                npk.clone("zz", "y")
            with pytest.raises(ValueError, match="b"):
                npk.clone("a", "b")
        with NumPack(path) as npk:
            assert_store(npk, {"a": np.arange(1, 5), "b": np.array([1, 2, 3, 4, 9])})

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_create_fills(self, npk, dtype):
        npk.create("zeros", (4, 2), dtype)
        npk.create("ones", (4,), dtype.name, fill=1)
        npk.create("point", (), dtype, fill=1)
        npk.create("none", (0, 3), dtype)
        assert_same(npk["zeros"], np.zeros((4, 2), dtype))
        assert_same(npk["ones"], np.ones(4, dtype))
        assert_same(npk["point"], np.ones((), dtype))
        assert_same(npk["none"], np.ones((0, 3), dtype))

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (("a", (-1,), "int8"), ValueError),
            (("a", (2**62, 8), "int64"), ValueError),
            (("a", (2,), "U3"), TypeError),
            (("a", (2,), "no dtype"), TypeError),
            (("a", "text", "int8"), (TypeError, ValueError)),
            (("a", "12", "int8"), TypeError),
            (("a", (2.7, 3), "int8"), TypeError),
            (("a", 3, "int8", 1.5), TypeError),
            (("a", 3, "int8", np.nan), TypeError),
            (("a", (3, 2), "int8", [1, 2]), ValueError),
            (("a", 2, "int8", np.array([1, 2], "int8")), ValueError),
        ],
    )
    @pytest.mark.parametrize("in_batch", [False, True])
    def test_create_refuses(self, npk, arguments, error, in_batch):
        block = npk.batch_mode() if in_batch else contextlib.nullcontext()
        with block, pytest.raises(error):
            npk.create(*arguments)
        assert npk.get_member_list() == []

    def test_create_keeps_the_sign_of_zero_in_a_block(self, npk):
        with npk.batch_mode():
            npk.create("a", 3, "f4", fill=-0.0)
        assert np.signbit(npk["a"]).all()

    def test_built_piece_by_piece(self, path):
        whole = sample("float32", (100, 8))
        with NumPack(path) as npk:
            npk.create("a", (100, 8), "float32")
            for start in range(0, 100, 10):
                npk["a", start : start + 10] = whole[start : start + 10]
            npk["a", -1] = whole[-1]
            npk["a", [3, 1]] = whole[[3, 1]]
            npk["a", np.arange(100) < 2] = whole[:2]
            assert_store(npk, {"a": whole})
        with NumPack(path) as npk:
            assert_store(npk, {"a": whole})

    def test_setitem_errors(self, npk):
        npk.save({"a": np.arange(4)})
        with pytest.raises(KeyError, match="zz"):
            npk["zz", 0] = 1
        with pytest.raises(IndexError, match="a"):
            npk["a", 4] = 1
        with pytest.raises(ValueError):
            npk["a", :2] = np.arange(3)
        with pytest.raises(TypeError):
            npk[3] = np.arange(3)
        assert_store(npk, {"a": np.arange(4)})


class TestPickling:
    @pytest.mark.parametrize(
        "options",
        [{}, {"mode": "w"}, {"mode": "x"}, {"drop_if_exists": True}],
    )
    def test_a_pickle_never_deletes(self, path, options):
        with NumPack(path, **options) as npk:
            npk.save({"a": np.arange(3)})
            fresh = pickle.loads(pickle.dumps(npk))
            fresh.open()
            assert_store(fresh, {"a": np.arange(3)})
            fresh.close()
        closed = pickle.loads(pickle.dumps(npk))
        with closed:
            assert_store(closed, {"a": np.arange(3)})

    def test_an_unopened_deletion_is_not_carried(self, path):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(3)})
        for options in ({"drop_if_exists": True}, {"mode": "w"}, {"mode": "x"}):
            with pickle.loads(pickle.dumps(NumPack(path, **options))) as npk:
                assert_store(npk, {"a": np.arange(3)})

    def test_options_are_carried(self, path):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(3)})
        reader = pickle.loads(pickle.dumps(NumPack(path, mode="r")))
        with reader, pytest.raises(numpack.ReadOnlyError):
            reader.save({"b": np.arange(3)})
        strict = pickle.loads(pickle.dumps(NumPack(path, strict_context_mode=True)))
        strict.open()
        with pytest.raises(RuntimeError, match="strict context mode"):
            strict.load("a")
        strict.close()
