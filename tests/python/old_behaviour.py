"""Bodies that run in numpack 0.4.2 and in this version alike: `old_behaviour.py CASE DIRECTORY`.

Each asserts what NumPy would do. test_faults_042.py shows that all of them fail in 0.4.2, by wrong
values, by an exception, or by the death of the process.
"""

import os
import subprocess
import sys

import numpy as np
from numpack import NumPack


def scattered_replace(path):
    array, values = np.zeros((100, 4)), np.arange(12.0).reshape(3, 4) + 1
    with NumPack(path) as npk:
        npk.save({"a": array})
        npk.replace({"a": values}, [10, 50, 90])
        array[[10, 50, 90]] = values
        assert np.array_equal(npk.load("a"), array)


def duplicate_replace(path):
    with NumPack(path) as npk:
        npk.save({"a": np.zeros((10, 4))})
        npk.replace({"a": np.arange(12.0).reshape(3, 4) + 1}, [4, 2, 4])
        assert npk.load("a")[4].tolist() == [9, 10, 11, 12]


def too_few_rows(path):
    with NumPack(path) as npk:
        npk.save({"a": np.zeros((10, 4))})
        try:
            npk.replace({"a": np.ones((1, 4))}, [0, 1, 2])
        except ValueError:
            return
        raise AssertionError("one row was taken for three")


def mask(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.replace({"a": np.array([70, 80])}, np.arange(10) > 7)
        assert npk.load("a").tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 70, 80]


def open_slice(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.replace({"a": np.array([70, 80])}, slice(8, None))
        assert npk.load("a").tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 70, 80]


def append_after_drop(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.drop("a", [0, 3])
        npk.append({"a": np.array([10])})
        assert npk.load("a").tolist() == [1, 2, 4, 5, 6, 7, 8, 9, 10]


def save_after_drop(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(1, 21)})
        npk.drop("a", list(range(0, 20, 2)))
        npk.save({"a": npk.load("a")})
        assert npk.load("a").tolist() == list(range(2, 21, 2))


def batch_after_drop(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(1, 21)})
        npk.drop("a", list(range(0, 20, 2)))
        with npk.batch_mode():
            npk.save({"a": npk.load("a")})
        assert npk.load("a").tolist() == list(range(2, 21, 2))


def append_in_batch(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(3)})
        with npk.batch_mode():
            npk.load("a")
            npk.append({"a": np.array([9])})
        assert npk.load("a").tolist() == [0, 1, 2, 9]


def fortran_order(path):
    array = np.arange(12.0).reshape(3, 4)
    with NumPack(path) as npk:
        npk.save({"a": np.asfortranarray(array)})
        assert np.array_equal(npk.load("a"), array)


def reversed_rows(path):
    array = np.arange(12.0).reshape(3, 4)
    with NumPack(path) as npk:
        npk.save({"a": array[::-1]})
        assert np.array_equal(npk.load("a"), array[::-1])


def big_endian(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(5, dtype=">i4")})
        assert npk.load("a").tolist() == [0, 1, 2, 3, 4]


def zero_dimensions(path):
    with NumPack(path) as npk:
        npk.save({"a": np.array(5.0)})
        assert npk.load("a") == 5.0


def negative_slice(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(20).reshape(10, 2)})
        assert npk.getitem("a", slice(-2, None)).tolist() == [[16, 17], [18, 19]]


def empty_selection(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(20).reshape(10, 2)})
        assert npk.getitem("a", []).shape == (0, 2)


def reversed_lazy(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(20).reshape(10, 2)})
        assert np.array_equal(npk.load("a", lazy=True)[::-1], np.arange(20).reshape(10, 2)[::-1])


def float16_rows(path):
    with NumPack(path) as npk:
        npk.save({"a": np.ones((4, 2), np.float16)})
        assert npk.load("a", lazy=True)[1:3].dtype == np.float16


def lazy_slice_after_drop(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.drop("a", [0])
        assert npk.load("a", lazy=True)[:].tolist() == list(range(1, 10))


def stream_after_drop(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.drop("a", [0])
        assert np.concatenate(list(npk.stream_load("a", 4))).tolist() == list(range(1, 10))


def writable_after_drop(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.drop("a", [0])
        with npk.writable_batch_mode() as batch:
            assert batch.load("a").tolist() == list(range(1, 10))


def negative_drop_after_drop(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.drop("a", [0, 1])
        npk.drop("a", [-1])
        assert npk.load("a").tolist() == list(range(2, 9))


def stale_shape(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.load("a")
        npk.save({"a": np.arange(5)})
        assert npk.load("a").tolist() == [0, 1, 2, 3, 4]


def asarray_outlives_lazy(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(100_000)})
        view = np.asarray(npk.load("a", lazy=True))
    assert view.sum() == 4_999_950_000


def writable_outlives_block(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(100_000)})
        with npk.writable_batch_mode() as batch:
            array = batch.load("a")
    array[0] = 1
    assert array.sum() == 4_999_950_001


def reader_writes_nothing(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
    before = os.stat(os.path.join(path, "metadata.npkm"))
    with NumPack(path) as npk:
        npk.load("a")
    after = os.stat(os.path.join(path, "metadata.npkm"))
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def corrupt_metadata(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
    metadata = os.path.join(path, "metadata.npkm")
    with open(metadata, "r+b") as file:
        file.truncate(50)
    try:
        NumPack(path).open()
    except ValueError:
        assert os.path.getsize(metadata) == 50
        return
    raise AssertionError("opened as an empty store")


def path_traversal(path):
    with NumPack(path) as npk:
        os.mkdir(os.path.join(path, "data_"))
        npk.save({"/../../evil": np.arange(10)})
    assert not os.path.exists(os.path.join(os.path.dirname(path), "evil.npkd"))


def in_process(path, body):
    code = f"import os, sys, numpy as np\nfrom numpack import NumPack\npath = sys.argv[1]\n{body}"
    subprocess.run([sys.executable, "-c", code, path], check=True)


def exit_without_close(path):
    in_process(
        path,
        "npk = NumPack(path); npk.open(); npk.save({'a': np.arange(5)}); os._exit(0)",
    )
    with NumPack(path) as npk:
        assert npk.load("a").tolist() == [0, 1, 2, 3, 4]


def append_after_kill(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
    in_process(
        path,
        "npk = NumPack(path); npk.open(); npk.append({'a': np.full(5, 9)}); os._exit(0)",
    )
    with NumPack(path) as npk:
        npk.append({"a": np.array([77])})
        assert npk.load("a").tolist() == [*range(10), 9, 9, 9, 9, 9, 77]


def lost_update(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
    with NumPack(path) as reader:
        reader.load("a")
        in_process(path, "with NumPack(path) as npk: npk.append({'a': np.arange(5)})")
    with NumPack(path) as npk:
        assert npk.get_shape("a") == (15,)


CASES = [
    name
    for name, value in list(globals().items())
    if getattr(value, "__module__", None) == __name__ and name != "in_process"
]


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
