"""What several test files share: sample arrays, exact comparison, mappings, child processes."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(os.environ.get("NUMPACK_ROOT", Path(__file__).resolve().parents[2]))

DTYPES = [
    np.dtype(name)
    for name in (
        "bool",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    )
]
NUMERIC = [dtype for dtype in DTYPES if dtype.kind in "uif"]
SHAPES = [(), (0,), (7,), (0, 3), (4, 0), (5, 3), (3, 2, 4), (2, 3, 1, 2)]


def sample(dtype, shape, seed=0):
    """An array of every bit pattern its dtype allows: NaN payloads, infinities, negative zeros."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.random.default_rng(seed).integers(0, 256, count * dtype.itemsize, dtype=np.uint8)
    if dtype.kind == "b":
        return (raw % 2).astype(bool).reshape(shape)
    return np.frombuffer(raw.tobytes(), dtype).reshape(shape).copy()


def plain(dtype, shape, seed=0):
    """Small whole numbers of `dtype`, for tests that compute with the values."""
    count = int(np.prod(shape, dtype=np.int64))
    values = np.random.default_rng(seed).integers(0, 100, count)
    return values.astype(dtype).reshape(shape)


def identical(actual, expected):
    """Same dtype, same shape, same bytes: NaN payloads and signs of zero included."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    return (
        actual.dtype == expected.dtype
        and actual.shape == expected.shape
        and actual.tobytes() == expected.tobytes()
    )


def assert_same(actual, expected, what=""):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, (what, actual.dtype, expected.dtype)
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    if actual.tobytes() != expected.tobytes():
        raise AssertionError(f"{what}: values differ\nactual:\n{actual}\nexpected:\n{expected}")


def contents(npk):
    """Every array of an open store, by name, in member order."""
    return {name: npk.load(name) for name in npk.get_member_list()}


def assert_store(npk, expected):
    """The store holds exactly the arrays of `expected`."""
    found = npk.get_member_list()
    assert sorted(found) == sorted(expected), f"arrays {sorted(found)}, not {sorted(expected)}"
    for name, array in expected.items():
        shape = npk.get_shape(name)
        assert shape == array.shape, f"{name}: {shape}, not {array.shape}"
        assert_same(npk.load(name), array, name)


def digest(array):
    array = np.asarray(array)
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()


def replaced(array, rows, values):
    """`array` after a replace: the rows in order, so that the last of a duplicate wins."""
    result = array.copy()
    for row, value in zip(rows, values, strict=True):
        result[row] = value
    return result


def rows_of(count, index):
    """The row numbers that NumPy selects from `count` rows by `index`."""
    if isinstance(index, (tuple, list, range)):
        values = list(index)
        if values and all(isinstance(value, (bool, np.bool_)) for value in values):
            index = np.array(values, bool)
        else:
            index = np.array(values, np.int64)
    return np.atleast_1d(np.arange(count)[index])


def listing(directory):
    """Every file below `directory` with what a writer would change about it."""
    result = {}
    for path in sorted(Path(directory).rglob("*")):
        status = path.lstat()
        content = hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() else ""
        name = str(path.relative_to(directory))
        result[name] = (status.st_ino, status.st_size, status.st_mtime_ns, content)
    return result


def address(array):
    return np.asarray(array).__array_interface__["data"][0]


def mapping_at(position):
    """The line of /proc/self/maps that holds an address, as a dict, or None."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        start, stop = (int(part, 16) for part in fields[0].split("-"))
        if start <= position < stop:
            return {
                "permissions": fields[1],
                "offset": int(fields[2], 16),
                "inode": int(fields[4]),
                "path": fields[5] if len(fields) > 5 else "",
                "start": start,
            }
    return None


def lies_in(position, store):
    """Whether an address lies in a mapping of one of the store's own files.

    An array that was just saved may live in a file of the store that gets its final name later.
    """
    mapping = mapping_at(position)
    inodes = {path.stat().st_ino for path in Path(store).rglob("*") if path.is_file()}
    return mapping is not None and mapping["inode"] in inodes


def assert_private(array):
    """A writable array never shares its memory with a file."""
    array = np.asarray(array)
    if array.flags.writeable and array.nbytes:
        mapping = mapping_at(address(array))
        assert mapping is not None
        assert "s" not in mapping["permissions"] or mapping["path"] == "", mapping


def run_python(code, *arguments, interpreter=sys.executable, check=True, timeout=300, **options):
    """Runs `code` in a new interpreter that can import this module, to its end."""
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parent), PYTHONFAULTHANDLER="1")
    finished = subprocess.run(
        [str(interpreter), "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        **options,
    )
    if check:
        assert finished.returncode == 0, (
            f"exit {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
        )
    return finished


def start_python(code, *arguments, interpreter=sys.executable, **options):
    """Starts `code` in a new interpreter with pipes on standard input and output."""
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parent), PYTHONFAULTHANDLER="1")
    return subprocess.Popen(
        [str(interpreter), "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def finish(process, text=""):
    """Sends a started process its last line, waits for its end, and returns the rest it printed.

    Not communicate(), which misses what a readline() has read ahead.
    """
    with process:
        if text:
            process.stdin.write(text)
            process.stdin.flush()
        output = process.stdout.read()
    assert process.returncode == 0, process.returncode
    return output


def segmented(path, name, pieces):
    """A store as 0.7.0 writes an array above its segment size."""
    folder = path / f"data_{name}_segments"
    folder.mkdir(parents=True)
    segments = []
    for number, piece in enumerate(pieces):
        file = f"data_{name}_segments/seg_{number:06}.npkd"
        piece.tofile(path / file)
        segments.append({"file": file, "rows": len(piece), "bytes": piece.nbytes})
    manifest = json.dumps({"version": 1, "segments": segments}, indent=2)
    (path / f"data_{name}.npkseg").write_text(manifest)
    whole = np.concatenate(pieces)
    metadata_of(path, [(name, whole, f"data_{name}.npkseg")])
    return whole


def metadata_of(path, entries):
    codes = {dtype: code for code, dtype in enumerate(DTYPES)}
    total = sum(array.nbytes for _, array, _ in entries)
    raw = b"NPKB" + struct.pack("<IQI", 1, total, len(entries))
    for name, array, file in entries:
        raw += struct.pack("<I", len(name.encode())) + name.encode()
        raw += struct.pack(f"<I{array.ndim}Q", array.ndim, *array.shape)
        raw += struct.pack("<I", len(file.encode())) + file.encode()
        raw += struct.pack("<QQBBIQQB", 1, array.nbytes, codes[array.dtype], 0, 0, 0, 0, 0)
    (path / "metadata.npkm").write_bytes(raw)
