"""The wheel's `numpack` command: files of other libraries, pipes, writers, limits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from numpack import NumPack
from support import (
    DTYPES,
    NUMERIC,
    SHAPES,
    assert_same,
    plain,
    run_python,
    sample,
    start_python,
)

COMMAND = Path(sys.executable).parent / "numpack"


def start(*arguments, **options):
    return subprocess.Popen([str(part) for part in (COMMAND, *arguments)], **options)


def numpack(*arguments, code=0, **options):
    """Runs the command; returns what it printed, or, where it is to fail, its complaint."""
    finished = subprocess.run(
        [str(part) for part in (COMMAND, *arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )
    assert finished.returncode == code, finished
    if code:
        assert finished.stdout == ""
        return finished.stderr
    assert finished.stderr == ""
    return finished.stdout


def test_it_is_the_command_of_this_wheel():
    import numpack as package

    assert numpack("--version") == f"numpack {package.__version__}\n"
    module = subprocess.run(
        [sys.executable, "-c", "from numpack._cli import main; main()", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert module.stdout == numpack("--version")


# --- files of NumPy and pyarrow ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_npy_and_npz_of_every_dtype_and_shape(path, tmp_path, dtype):
    arrays = {f"a{number}": sample(dtype, shape) for number, shape in enumerate(SHAPES)}
    arrays["fortran"] = np.asfortranarray(sample(dtype, (5, 3)))
    arrays["big_endian"] = sample(dtype, (4,)).astype(dtype.newbyteorder(">"))
    files = []
    for name, array in arrays.items():
        files.append(tmp_path / f"{name}.npy")
        np.save(files[-1], array)
    numpack("import", *files, path)
    np.savez_compressed(tmp_path / "all.npz", **arrays)
    numpack("import", tmp_path / "all.npz", tmp_path / "z.npk")
    expected = {name: array.astype(dtype.newbyteorder("=")) for name, array in arrays.items()}
    for store in (path, tmp_path / "z.npk"):
        with NumPack(store) as npk:
            for name, array in expected.items():
                assert_same(npk.load(name), np.ascontiguousarray(array).reshape(array.shape), name)
    numpack("export", path, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as out:
        assert list(out) == list(arrays)
        for name, array in expected.items():
            assert_same(out[name], array, name)
    numpack("export", path, tmp_path / "out.npy", "--arrays", "fortran")
    assert_same(np.load(tmp_path / "out.npy"), expected["fortran"])


def columns():
    """An array of every numeric dtype and bool, vectors and matrices among them."""
    arrays = {str(dtype): plain(dtype, (50,), seed=3) for dtype in (*NUMERIC, np.dtype(bool))}
    arrays["vector"] = plain(np.float32, (50, 8))
    return arrays


def write_parquet(table, file):
    pa.parquet.write_table(table, file, row_group_size=7)


def write_arrow(table, file):
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


def write_arrows(table, file):
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


def read_arrow(file):
    with pa.ipc.open_file(file) as reader:
        return reader.read_all()


def read_arrows(file):
    with pa.ipc.open_stream(file) as reader:
        return reader.read_all()


TABLES = {
    "parquet": (write_parquet, pa.parquet.read_table),
    "arrow": (write_arrow, read_arrow),
    "arrows": (write_arrows, read_arrows),
}


def as_arrow(array):
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


@pytest.mark.parametrize("extension", TABLES)
def test_tables_of_pyarrow(path, tmp_path, extension):
    write, read = TABLES[extension]
    arrays = columns()
    file = tmp_path / f"in.{extension}"
    write(pa.table({name: as_arrow(array) for name, array in arrays.items()}), file)
    numpack("import", file, path)
    with NumPack(path) as npk:
        for name, array in arrays.items():
            assert_same(npk.load(name), array, name)
        npk.drop(list(arrays), [3])
    out = tmp_path / f"out.{extension}"
    numpack("export", path, out)
    table = read(out)
    assert table.column_names == list(arrays)
    for name, array in arrays.items():
        got = table[name].combine_chunks()
        got = got.flatten() if array.ndim == 2 else got
        rest = np.delete(array, 3, axis=0)
        assert_same(got.to_numpy(zero_copy_only=False).reshape(rest.shape), rest, name)


def test_csv_of_pyarrow(path, tmp_path):
    arrays = {
        "int": np.array([-(2**63), 0, 2**63 - 1]),
        "float": np.array([0.1, -1e300, np.pi]),
        "flag": np.array([True, False, True]),
    }
    pa.csv.write_csv(pa.table(arrays), tmp_path / "in.csv")
    numpack("import", tmp_path / "in.csv", path)
    with NumPack(path) as npk:
        for name, array in arrays.items():
            assert_same(npk.load(name), array, name)
    numpack("export", path, tmp_path / "out.csv")
    table = pa.csv.read_csv(tmp_path / "out.csv")
    for name, array in arrays.items():
        assert_same(table[name].to_numpy(), array, name)


def test_what_cannot_be_taken_over_leaves_everything_as_it_was(path, tmp_path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(3)})
    np.save(tmp_path / "b.npy", np.arange(4))
    np.save(tmp_path / "c.npy", np.array(["text"]))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:-1])
    pa.parquet.write_table(pa.table({"n": [1, None]}), tmp_path / "nulls.parquet")
    for bad in ("c.npy", "cut.npy", "nulls.parquet", "missing.npy"):
        complaint = numpack("import", tmp_path / "b.npy", tmp_path / bad, path, code=1)
        assert complaint.startswith("error: ") and complaint.count("\n") == 1
        assert bad in complaint
    with NumPack(path) as npk:
        assert npk.get_member_list() == ["a"]
    (tmp_path / "out.npy").write_bytes(b"old")
    numpack("export", path, tmp_path / "out.npy", "--arrays", "b", code=1)
    assert (tmp_path / "out.npy").read_bytes() == b"old"
    names = {file.name for file in tmp_path.iterdir()}
    assert not any(name.startswith(".") for name in names), names


# --- SQL -----------------------------------------------------------------------------------------


@pytest.fixture
def store(path):
    with NumPack(path) as npk:
        npk.save({"x": np.arange(20.0).reshape(10, 2), "label": np.arange(10) % 3})
    return path


def test_rows_of_a_query_in_every_format(store, tmp_path):
    query = "SELECT x, label FROM self WHERE label = 2"
    with NumPack(store) as npk:
        expected = npk.sql(query).to_arrow()
    assert json.loads(numpack("sql", store, "-c", query, "--json")) == expected.to_pylist()
    file = tmp_path / "rows.parquet"
    said = numpack("sql", store, "-c", query, "--format", "parquet", "-o", file)
    assert said == f"wrote 3 rows to {file}\n"
    assert pa.parquet.read_table(file).to_pylist() == expected.to_pylist()
    csv = numpack("sql", store, "-c", "SELECT label, row_id FROM self", "--format", "csv")
    table = pa.csv.read_csv(pa.BufferReader(csv.encode()))
    assert table["label"].to_pylist() == [row % 3 for row in range(10)]


def test_statements_come_from_files_and_pipes(store, tmp_path):
    script = tmp_path / "two.sql"
    script.write_text("SELECT 1 AS a;\nSELECT count(*) AS n FROM self\n")
    lines = '[{"a":1}]\n[{"n":10}]\n'
    assert numpack("sql", store, "-f", script, "--json") == lines
    assert numpack("sql", store, "--json", input=script.read_text()) == lines
    assert "no statement" in numpack("sql", store, input="", code=2)


def test_a_file_name_that_is_no_text(store, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.npk"
    os.rename(store, name)
    finished = subprocess.run([COMMAND, "ls", name], capture_output=True, timeout=60, check=True)
    assert b"label" in finished.stdout


def test_a_reader_that_goes_away_ends_it_quietly(store):
    query = "SELECT value, 'some text' AS t FROM generate_series(1, 20000000)"
    for options in (["--format", "csv"], ["--json"]):
        running = start(
            "sql", store, "-c", query, *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with running:
            running.stdout.read(10)
            running.stdout.close()
            assert running.stderr.read() == b""
            assert running.wait(60) == 0


def test_a_full_disk_is_an_error(store):
    with open("/dev/full", "w") as full:
        for command in (["ls", store], ["sql", store, "-c", "SELECT 1", "--format", "csv"]):
            finished = subprocess.run(
                [COMMAND, *command], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
            )
            assert finished.returncode == 1
            assert finished.stderr.startswith("error: cannot write the result: No space left")


def test_ctrl_c_ends_a_query_and_leaves_no_file(store, tmp_path):
    query = (
        "SELECT count(*) FROM generate_series(1, 1000000) AS a "
        "JOIN generate_series(1, 1000000) AS b ON a.value * b.value < 0"
    )
    target = tmp_path / "out" / "rows.csv"
    target.parent.mkdir()
    running = start("sql", store, "-c", query, "--format", "csv", "-o", target)
    with running:
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        assert running.wait(20) in (130, -signal.SIGINT)
    assert list(target.parent.iterdir()) == []


def test_nothing_waits_for_a_writer_at_work(store, tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from numpack import NumPack\n"
        "with NumPack(sys.argv[1]) as npk:\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        with npk.batch_mode():\n"
        "            npk.append({'x': np.zeros((10, 2)), 'label': np.zeros(10, int)})\n"
    )
    with start_python(code, store) as writer:
        try:
            assert writer.stdout.readline() == "ready\n"
            counts = []
            for _ in range(5):
                query = "SELECT count(*) AS n, count(label) AS l FROM self"
                rows = json.loads(numpack("sql", store, "-c", query, "--json"))
                assert rows[0]["n"] == rows[0]["l"]
                assert rows[0]["n"] % 10 == 0
                counts.append(rows[0]["n"])
                numpack("ls", store)
                numpack("head", store, "-n", "3")
                numpack("export", store, tmp_path / "o.npz")
                with np.load(tmp_path / "o.npz") as out:
                    assert len(out["x"]) == len(out["label"])
            assert writer.poll() is None
        finally:
            writer.kill()
    assert counts == sorted(counts)
    assert counts[-1] > counts[0] >= 10


# --- memory --------------------------------------------------------------------------------------

LIMITED = """
import resource, sys
from numpack._cli import main
for line in open("/proc/self/status"):
    if line.startswith("VmSize:"):
        used = 1024 * int(line.split()[1])
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]),) * 2)
sys.argv = ["numpack", *sys.argv[2:]]
main()
"""


@pytest.mark.parametrize("extension", ["npy", "csv", "arrow"])
def test_files_larger_than_the_address_space_that_is_left(path, tmp_path, extension):
    """Beyond what the process has at its start it may map less than the file."""
    file = tmp_path / f"big.{extension}"
    if extension == "npy":
        limit, rows = 60_000_000, 300_000
        np.lib.format.open_memmap(file, "w+", np.uint8, (rows, 1024)).flush()
    elif extension == "csv":
        limit, rows = 30_000_000, 1_000_000
        line = b"123456789012345678,0.12345678901234567\n"
        with open(file, "wb") as out:
            out.write(b"big,other\n")
            for _ in range(100):
                out.write(line * (rows // 100))
    else:
        limit, rows = 100_000_000, 200_000
        table = pa.table({"big": as_arrow(np.zeros((rows // 20, 128)))})
        with pa.ipc.new_file(file, table.schema) as writer:
            for _ in range(20):
                writer.write_table(table)
    assert file.stat().st_size > limit
    run_python(LIMITED, limit, "import", file, path)
    with NumPack(path) as npk:
        assert npk.get_shape("big")[0] == rows
        assert npk.load("big", lazy=True)[-1].tolist() in (
            [0] * 1024,
            123456789012345678,
            [0] * 128,
        )
