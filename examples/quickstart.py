"""A tour of a store with real data: scikit-learn's 1,797 handwritten digits.

    python examples/quickstart.py [DIRECTORY]

Saves, changes, reopens, survives a kill -9, and hands the same bytes to Arrow, Polars and SQL.
Every step is checked against NumPy; the exit status is 1 if a check fails. Without DIRECTORY the
store lies in a temporary directory.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpack
import numpy as np
import polars as pl
import pyarrow as pa
import yardsticks
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
#: Steps that the child process must have finished before it is killed.
STEPS_BEFORE_KILL = 200


class Transcript:
    """Prints what happens and remembers whether all of it was right."""

    def __init__(self) -> None:
        self.failed = 0

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Run a step and print how long it took."""
        start = time.perf_counter()
        yield
        print(f"  {what:<66} {(time.perf_counter() - start) * 1e3:8.3f} ms")

    def check(self, right: bool, what: str) -> None:
        """Print a check; a wrong one fails the run."""
        print(f"  {'ok   ' if right else 'WRONG'} {what}")
        self.failed += not right


def digits() -> dict[str, np.ndarray]:
    """Images (1797, 8, 8) float64, their labels, and their mean brightness."""
    bunch = load_digits()
    images = np.ascontiguousarray(bunch.images)
    return {
        "images": images,
        "label": bunch.target.astype(np.int64),
        "brightness": images.mean(axis=(1, 2)).astype(np.float32),
    }


def change(npk: numpack.NumPack, model: dict[str, np.ndarray], log: Transcript) -> None:
    """Replace, append and drop rows, in the store and in the NumPy model."""
    print("\nChange it in place")
    rows = [1_400, 3, 777]
    inverted = 16.0 - model["images"][rows]
    before = npk.view("images")
    kept = before.copy()
    with log.timed("replace three scattered rows"):
        npk.replace({"images": inverted}, rows)
    model["images"][rows] = inverted
    log.check(np.array_equal(npk.load("images"), model["images"]), "the new rows are there")
    log.check(np.array_equal(before, kept), "a view taken before still shows the old ones")

    more = {name: array[:100].copy() for name, array in model.items()}
    with log.timed("append 100 rows to all three arrays, as one commit"):
        npk.append(more)
    for name, array in more.items():
        model[name] = np.concatenate([model[name], array])
    same(npk, model, log, "all arrays have grown")

    with log.timed("drop rows 5, 10 and the last, of all three arrays"):
        npk.drop(list(model), [5, 10, -1])
    for name, array in model.items():
        model[name] = np.delete(array, [5, 10, -1], axis=0)
    same(npk, model, log, "the rows are gone")


def same(npk: numpack.NumPack, model: dict[str, np.ndarray], log: Transcript, what: str) -> None:
    """Check every array of the store against the model."""
    equal = all(np.array_equal(npk.load(name), array) for name, array in model.items())
    log.check(equal, f"{what}: {len(npk.load('label')):,} rows, equal to NumPy's")


def victim(path: str) -> None:
    """Append and replace without end, reporting each finished step; run in a child process."""
    with numpack.NumPack(path) as npk:
        step = 0
        while True:
            npk.append(
                {
                    "images": np.full((1, 8, 8), float(step)),
                    "label": np.array([step % 10]),
                    "brightness": np.array([step], np.float32),
                }
            )
            npk.replace({"images": np.full((8, 8), float(step))}, 0)
            os.write(1, f"{step}\n".encode())
            step += 1


def survive(
    npk: numpack.NumPack, path: Path, model: dict[str, np.ndarray], log: Transcript
) -> None:
    """Kill a writing process with SIGKILL; all that it was told is done must be there."""
    print("\nKill a writer with SIGKILL while it works")
    command = [sys.executable, str(Path(__file__).resolve()), "--victim", str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    reported = -1
    while reported < STEPS_BEFORE_KILL and (line := child.stdout.readline()):
        reported = int(line)
    time.sleep(random.uniform(0.0, 0.02))  # noqa: S311 - anywhere inside a step
    child.send_signal(signal.SIGKILL)
    for line in child.stdout:  # what it had finished before the signal arrived
        if line.endswith("\n"):
            reported = int(line)
    status = child.wait()
    log.check(status == -signal.SIGKILL, f"killed after it reported {reported + 1:,} steps")

    npk.close()
    with log.timed("open again"):
        npk.open()
    start = len(model["label"])
    lengths = {len(npk.load(name)) for name in model}
    log.check(len(lengths) == 1, "an append is in all three arrays or in none")
    added = lengths.pop() - start
    images = npk.load("images")
    log.check(added in (reported + 1, reported + 2), f"{added:,} appends found, none lost")
    log.check(
        np.array_equal(images[start:, 3, 3], np.arange(added)),
        "each appended row holds what it was given, in order",
    )
    replaced = images[0, 0, 0]
    log.check(
        replaced in (reported, reported + 1) and bool((images[0] == replaced).all()),
        f"the replaced row is whole and is that of step {replaced:.0f}",
    )

    npk.drop(list(model), slice(start, None))
    npk.replace({"images": model["images"][:1]}, [0])
    same(npk, model, log, "its work undone")


def arrow(npk: numpack.NumPack, path: Path, model: dict[str, np.ndarray], log: Transcript) -> None:
    """Show that the Arrow tensor lies in the file's own pages."""
    print("\nThe same bytes as an Arrow tensor")
    with log.timed("update(): compact away the dropped rows"):
        for name in model:
            npk.update(name)
    npk.close()  # the checkpoint gives the new files their lasting names
    npk.open()
    with log.timed("to_arrow"):
        tensor = npk.to_arrow("images", zero_copy_only=True)
    print(f"  {tensor.type}")
    log.check(
        isinstance(tensor, pa.FixedShapeTensorArray)
        and np.array_equal(tensor.to_numpy_ndarray(), model["images"]),
        "a pyarrow.FixedShapeTensorArray with NumPy's values",
    )
    address = tensor.storage.values.buffers()[1].address
    file = path / npk.get_metadata()["arrays"]["images"]["data_file"]
    mapping = mapping_of(address)
    print(f"  buffer at {address:#x}, mapped from {mapping['path']}")
    log.check(
        mapping["inode"] == file.stat().st_ino,
        f"which is the data file {file.name}: nothing was copied",
    )


def mapping_of(address: int) -> dict[str, str | int]:
    """The line of /proc/self/maps that covers an address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode, *path = line.split(maxsplit=5)
        low, high = (int(bound, 16) for bound in span.split("-"))
        if low <= address < high:
            return {"inode": int(inode), "path": path[0] if path else "no file"}
    return {"inode": 0, "path": "nothing"}


def tables(npk: numpack.NumPack, model: dict[str, np.ndarray], log: Transcript) -> None:
    """A Polars frame and an SQL aggregate, each compared with NumPy."""
    print("\nA Polars frame")
    with log.timed("sql(...).to_polars()"):
        frame = npk.sql("SELECT label, brightness FROM self").to_polars()
    print(indented(str(frame.head(3))))
    log.check(
        np.array_equal(frame["brightness"].to_numpy(), model["brightness"])
        and isinstance(frame, pl.DataFrame),
        f"{frame.height:,} rows, in order",
    )

    print("\nAn SQL aggregate over the store")
    query = (
        "SELECT label, count(*) AS images, avg(brightness) AS brightness "
        "FROM self GROUP BY label ORDER BY label"
    )
    print(f"  {query}")
    with log.timed("sql(...).to_arrow()"):
        result = npk.sql(query).to_arrow()
    with pl.Config(tbl_rows=10, tbl_hide_dataframe_shape=True):
        print(indented(str(pl.from_arrow(result))))
    labels, counts = np.unique(model["label"], return_counts=True)
    means = [model["brightness"][model["label"] == label].mean() for label in labels]
    log.check(
        np.array_equal(result["label"].to_numpy(), labels)
        and np.array_equal(result["images"].to_numpy(), counts)
        and np.allclose(result["brightness"].to_numpy(), means, rtol=1e-5),
        "counts and means equal NumPy's",
    )


def compare(arrays: dict[str, np.ndarray], scratch: Path) -> None:
    """Print the time of each step beside NPY files and NumPack 0.4.2."""
    print("\nHow long each step takes, milliseconds (median of nine)")
    own, _ = yardsticks.store(scratch, arrays)
    npy, _ = yardsticks.npy(scratch, arrays)
    old, note = published(arrays, scratch)
    titles = {
        "save": "save three arrays",
        "load": "load the images",
        "lazy": "lazy load, one image",
        "replace": "replace 3 scattered rows",
        "append": "append 100 rows",
        "drop": "drop 3 rows",
        "reopen": "close and open",
    }
    print(f"  {'':<28}{'NumPack':>10}{'NPY':>10}{'0.4.2':>10}")
    for step, title in titles.items():
        last = f"{old[step]:10.3f}" if step in old else f"{'-':>10}"
        print(f"  {title:<28}{own[step]:10.3f}{npy[step]:10.3f}{last}")
    print(f"  {note}")


def published(arrays: dict[str, np.ndarray], scratch: Path) -> tuple[dict[str, float], str]:
    """The times of NumPack 0.4.2 from its own virtual environment, if there can be one."""
    finder = HERE.parent / "benches" / "python" / "old_numpack.py"
    file = scratch / "digits.npz"
    np.savez(file, **arrays)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        found = subprocess.run(
            [sys.executable, str(finder)], check=True, capture_output=True, text=True
        )
        done = subprocess.run(
            [found.stdout.strip(), str(HERE / "yardsticks.py"), str(file)],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        return {}, f"NumPack 0.4.2 was left out: {error}"
    answer = json.loads(done.stdout)
    note = "NPY rewrites its file for every change."
    if not answer["right"]:
        note += " 0.4.2 wrote wrong bytes in the scattered replace."
    return answer["milliseconds"], note


def indented(text: str) -> str:
    """Shift every line to the right."""
    return "\n".join(f"  {line}" for line in text.splitlines())


def tour(directory: Path) -> int:
    """Run all steps in a directory; the number of failed checks."""
    log = Transcript()
    model = digits()
    original = {name: array.copy() for name, array in model.items()}
    path = directory / "digits.npk"
    print(f"NumPack {numpack.__version__}: scikit-learn's digits, images {model['images'].shape}")
    print(f"  store: {path}")

    print("\nSave")
    npk = numpack.NumPack(path, drop_if_exists=True)
    npk.open()
    with log.timed("save images, label and brightness, as one commit"):
        npk.save(model)
    same(npk, model, log, "saved")

    change(npk, model, log)

    print("\nClose and open again")
    with log.timed("close"):
        npk.close()
    with log.timed("open"):
        npk.open()
    same(npk, model, log, "after reopening")

    survive(npk, path, model, log)
    arrow(npk, path, model, log)
    tables(npk, model, log)
    npk.close()

    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        compare(original, Path(scratch))
    print(f"\n{f'checks FAILED: {log.failed}' if log.failed else 'all checks passed'}")
    return log.failed


def main(arguments: list[str]) -> int:
    """Run the tour, or the child that is to be killed."""
    if arguments[:1] == ["--victim"]:
        victim(arguments[1])
    if arguments:
        Path(arguments[0]).mkdir(parents=True, exist_ok=True)
        return min(1, tour(Path(arguments[0])))
    with tempfile.TemporaryDirectory(prefix="numpack-") as directory:
        return min(1, tour(Path(directory)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
