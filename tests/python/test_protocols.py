"""LazyArray by protocol: __array__, the buffer protocol and DLPack, for NumPy and others."""

import ctypes

import numpy as np
import pytest
from numpack import NumPack
from support import DTYPES, SHAPES, address, assert_same, lies_in, mapping_at, plain, sample

try:
    import torch
except ImportError:  # its Linux wheel brings gigabytes of CUDA, so `make test` does without
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


class Unversioned:
    """Hands a producer to consumers that ask for DLPack without a version, as older ones do."""

    def __init__(self, producer):
        self.producer = producer

    def __dlpack__(self, **_options):
        return self.producer.__dlpack__()

    def __dlpack_device__(self):
        return self.producer.__dlpack_device__()


def lazy_of(npk, array):
    npk.save({"a": array})
    return npk.load("a", lazy=True)


class TestArray:
    def test_no_copy(self, npk, path):
        array = sample("float32", (5000, 4))
        lazy = lazy_of(npk, array)
        for found in (
            np.asarray(lazy),
            np.asarray(lazy, copy=False),
            np.array(lazy, copy=False),
            np.asarray(lazy, dtype="f4", copy=False),
            lazy.__array__(),
            lazy.__array__(None, copy=None),
        ):
            assert_same(found, array)
            assert lies_in(address(found), path) and not found.flags.writeable

    def test_copy(self, npk, path):
        array = sample("float32", (5000, 4))
        lazy = lazy_of(npk, array)
        for found in (np.array(lazy), np.asarray(lazy, copy=True), np.array(lazy, dtype="f4")):
            assert not lies_in(address(found), path)
            found[...] = 0
        assert_same(np.array(lazy), array)

    def test_another_dtype(self, npk):
        array = plain("float32", (50, 4))
        lazy = lazy_of(npk, array)
        assert_same(np.asarray(lazy, dtype="f8"), array.astype("f8"))
        with pytest.raises(ValueError, match=r"float32 as float64 .*copy=False"):
            lazy.__array__("f8", copy=False)
        with pytest.raises(ValueError):
            np.asarray(lazy, dtype="f8", copy=False)

    def test_deleted_rows(self, npk):
        array = plain("float32", (50, 4))
        npk.save({"a": array})
        npk.drop("a", [3, 7])
        lazy = npk.load("a", lazy=True)
        assert_same(np.asarray(lazy), np.delete(array, [3, 7], axis=0))
        with pytest.raises(ValueError, match=r"'a' has deleted rows.*copy=False"):
            lazy.__array__(copy=False)
        # NumPy asks for a buffer before it asks __array__, and a buffer has no copy argument.
        assert_same(np.asarray(lazy, copy=False), np.delete(array, [3, 7], axis=0))


class TestBuffer:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_of_everything(self, npk, dtype, shape):
        array = sample(dtype, shape)
        buffer = memoryview(lazy_of(npk, array))
        assert buffer.readonly and buffer.c_contiguous
        assert buffer.shape == array.shape and buffer.itemsize == dtype.itemsize
        assert buffer.format == memoryview(array).format
        assert buffer.tobytes() == array.tobytes()
        assert_same(np.asarray(buffer), array)

    def test_no_copy(self, npk, path):
        lazy = lazy_of(npk, plain("float64", (5000, 2)))
        found = np.frombuffer(lazy)
        assert found.shape == (10_000,) and lies_in(address(found), path)
        with pytest.raises(TypeError):
            memoryview(lazy)[0, 0] = 1.0

    def test_it_can_be_written_to_a_file(self, npk, tmp_path):
        array = plain("int32", (5000, 2))
        file = tmp_path / "raw"
        with file.open("wb") as output:
            output.write(lazy_of(npk, array))
        assert file.read_bytes() == array.tobytes()


class TestDLPack:
    @pytest.mark.parametrize("shape", [s for s in SHAPES if len(s)], ids=str)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_of_everything(self, npk, dtype, shape):
        array = sample(dtype, shape)
        lazy = lazy_of(npk, array)
        assert_same(np.from_dlpack(lazy), array)
        assert_same(np.from_dlpack(Unversioned(lazy)), array)

    def test_a_scalar(self, npk):
        assert_same(np.from_dlpack(lazy_of(npk, np.array(2.5))), np.array(2.5))

    def test_no_copy_and_read_only(self, npk, path):
        array = plain("float32", (5000, 4))
        lazy = lazy_of(npk, array)
        for found in (np.from_dlpack(lazy), np.from_dlpack(lazy, copy=False, device="cpu")):
            assert_same(found, array)
            assert not found.flags.writeable
            assert lies_in(address(found), path)

    def test_capsules_are_named_by_their_version(self, npk):
        lazy = lazy_of(npk, plain("float32", (10, 4)))
        for version in (None, (0, 8)):
            assert '"dltensor"' in repr(lazy.__dlpack__(max_version=version))
        for version in ((1, 0), (1, 1), (2, 0)):
            assert '"dltensor_versioned"' in repr(lazy.__dlpack__(max_version=version))
        assert lazy.__dlpack_device__() == np.zeros(3).__dlpack_device__()

    def test_a_consumer_that_may_write_gets_private_pages(self, npk, path):
        array = plain("float32", (5000, 4))
        lazy = lazy_of(npk, array)
        first = np.from_dlpack(Unversioned(lazy))
        second = np.from_dlpack(Unversioned(lazy))
        assert lies_in(address(first), path)
        assert "p" in mapping_at(address(first))["permissions"]
        ctypes.memset(address(first), 0, first.nbytes)  # as PyTorch would: NumPy itself may not
        for other in (second, np.from_dlpack(lazy), np.asarray(lazy), npk["a"], npk.view("a")):
            assert_same(other, array)
        npk.close()
        assert not first.any()
        npk.open()
        assert_same(npk["a"], array)

    def test_every_capsule_bears_being_written_to(self, npk):
        """PyTorch asks for the version with the read-only flag, and then writes all the same."""
        array = plain("float32", (5000, 4))
        lazy = lazy_of(npk, array)
        found = np.from_dlpack(lazy)
        mapping = mapping_at(address(found))
        assert mapping["permissions"] == "rw-p"
        kept = np.asarray(lazy)
        assert mapping_at(address(kept))["permissions"].startswith("r--")

    def test_copy(self, npk, path):
        array = plain("float32", (5000, 4))
        lazy = lazy_of(npk, array)
        found = np.from_dlpack(lazy, copy=True)
        assert found.flags.writeable and not lies_in(address(found), path)
        found[...] = 0
        assert_same(np.asarray(lazy), array)

    def test_deleted_rows(self, npk):
        array = plain("float32", (5000, 4))
        npk.save({"a": array})
        npk.drop("a", [0, -1])
        edges = npk.load("a", lazy=True)
        assert_same(np.from_dlpack(edges, copy=False), array[1:-1])
        npk.drop("a", [3, 7])
        lazy = npk.load("a", lazy=True)
        assert_same(np.from_dlpack(lazy), np.delete(array[1:-1], [3, 7], axis=0))
        with pytest.raises(BufferError, match=r'"a".*copy=False'):
            np.from_dlpack(lazy, copy=False)

    def test_another_shape(self, npk, path):
        array = plain("float32", (5000, 4))
        found = np.from_dlpack(lazy_of(npk, array).reshape((100, -1)))
        assert_same(found, array.reshape(100, -1))
        assert lies_in(address(found), path)

    def test_another_device(self, npk):
        lazy = lazy_of(npk, plain("float32", (10, 4)))
        with pytest.raises((BufferError, ValueError)):
            lazy.__dlpack__(max_version=(1, 0), dl_device=(2, 0))
        with pytest.raises((BufferError, RuntimeError)):
            lazy.__dlpack__(stream=1)

    def test_capsules_that_nobody_takes_leave_nothing(self, npk, path):
        lazy = lazy_of(npk, plain("float32", (5000, 4)))
        for _ in range(200):
            lazy.__dlpack__(max_version=(1, 0))
            lazy.__dlpack__()
        assert private_maps(path) == 0

    def test_what_outlives_the_store(self, path):
        array = plain("float32", (5000, 4))
        npk = NumPack(path)
        npk.open()
        found = np.from_dlpack(Unversioned(lazy_of(npk, array)))
        npk.replace({"a": np.zeros_like(array)}, slice(None))
        npk.drop("a")
        npk.close()
        del npk
        assert_same(found, array)


def private_maps(path):
    """How many writable private mappings of the store's files this process has."""
    inodes = {file.stat().st_ino for file in path.rglob("*") if file.is_file()}
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    return sum(line[1] == "rw-p" and int(line[4]) in inodes for line in lines)


def test_tvm_takes_dlpack(npk, path):
    """A consumer in C++ that asks for no version, as PyTorch up to 2.8 did."""
    tvm = pytest.importorskip("tvm_ffi")
    array = plain("float32", (5000, 4))
    lazy = lazy_of(npk, array)
    tensor = tvm.from_dlpack(lazy)
    assert tensor.shape == (5000, 4) and lies_in(tensor.data_ptr(), path)
    assert_same(np.from_dlpack(tensor), array)
    npk.drop("a")
    del lazy
    assert_same(np.from_dlpack(tensor), array)


@needs_torch
class TestTorch:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_every_dtype(self, npk, dtype):
        array = sample(dtype, (6, 4))
        found = torch.from_dlpack(lazy_of(npk, array))
        assert_same(found.numpy(), array)

    def test_in_place_work_is_safe_and_private(self, npk, path):
        array = plain("float32", (5000, 4))
        lazy = lazy_of(npk, array)
        first, second = torch.from_dlpack(lazy), torch.from_dlpack(lazy)
        assert lies_in(first.data_ptr(), path) and lies_in(second.data_ptr(), path)
        first.mul_(0)
        assert not first.any()
        assert_same(second.numpy(), array)
        assert_same(np.asarray(lazy), array)
        npk.close()
        npk.open()
        assert_same(npk["a"], array)

    def test_a_tensor_is_taken(self, npk):
        tensor = torch.arange(12, dtype=torch.int16).reshape(3, 4)
        npk.save({"a": tensor, "turned": tensor.T})
        assert_same(npk["a"], tensor.numpy())
        assert_same(npk["turned"], tensor.numpy().T)
