"""`verify`: damage is found and placed, what nobody can tell is said, and nothing else is."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpack import NumPack, NumPackError, Report
from support import assert_same, assert_store, finish, run_python, segmented, start_python

BLOCK = 65_536


@pytest.fixture
def arrays():
    return {
        "rows": np.arange(300 * 128, dtype=np.float64).reshape(300, 128),
        "few": np.arange(5, dtype=np.int16),
        "scalar": np.array(2.5),
        "none": np.zeros((0, 3), np.float32),
    }


@pytest.fixture
def closed(path, arrays):
    """A closed store that has seen some changes."""
    with NumPack(path) as npk:
        npk.save(arrays)
        npk.append({"rows": np.ones((10, 128))})
        npk.replace({"rows": np.zeros((2, 128))}, [3, 200])
        npk.drop("few", [1])
    return path


def verified(path, deep=True):
    with NumPack(path, mode="r") as npk:
        return npk.verify(deep=deep)


def flip(file, at):
    with file.open("r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x10]))


def command(*arguments):
    return subprocess.run(
        [Path(sys.executable).with_name("numpack"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_nothing_is_wrong(closed):
    report = verified(closed, deep=False)
    assert (report.ok, report.checked_bytes) == (True, 0)
    report = verified(closed)
    assert isinstance(report, Report)
    assert (report.problems, report.unchecked, report.leftovers) == ([], [], [])
    assert report.checked_bytes == 310 * 128 * 8 + 5 * 2 + 8
    verdict = f"4 arrays, 0 problems, {report.checked_bytes} bytes of rows verified"
    assert str(report) == f"{closed}: {verdict}"
    assert bool(report)
    assert repr(report) == (
        "Report(ok=True, problems=[], unchecked=[], leftovers=[], "
        f"checked_bytes={report.checked_bytes})"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.ok = False


@pytest.mark.parametrize("at", [0, BLOCK - 1, BLOCK, 200_000, 310 * 128 * 8 - 1])
def test_a_flipped_byte_is_found_and_placed(closed, at):
    flip(closed / "data_rows.npkd", at)
    assert verified(closed, deep=False).ok, "the rows are not read"
    report = verified(closed)
    assert not report
    assert not report.ok
    (problem,) = report.problems
    start, block = at // BLOCK * BLOCK, at // BLOCK
    end = min(start + BLOCK, 310 * 128 * 8)
    rows = f"rows {start // 1024}..{-(-end // 1024)}"
    place = f"bytes {start}..{end} of data_rows.npkd (blocks {block}..{block + 1}, {rows})"
    assert problem.startswith(f'array "rows": {place} are changed since written')
    assert str(report).splitlines()[0] == f"problem: {problem}"
    assert report.checked_bytes == 310 * 128 * 8 + 5 * 2 + 8 - (end - start)


def test_every_data_file_is_looked_at(closed):
    for name in ("few", "scalar"):
        flip(closed / f"data_{name}.npkd", 1)
    problems = verified(closed).problems
    assert [problem.split(":")[0] for problem in problems] == ['array "few"', 'array "scalar"']


def test_a_flip_is_found_after_later_sessions(closed):
    """Whatever is written beside it, and over other rows of its block."""
    flip(closed / "data_rows.npkd", 70_000)
    with NumPack(closed) as npk:
        npk.append({"rows": np.ones((200, 128))})
        npk.save({"other": np.zeros(3)})
    (problem,) = verified(closed).problems
    assert "blocks 1..2" in problem
    with NumPack(closed) as npk:
        npk.replace({"rows": np.ones((1, 128))}, [64])
    report = verified(closed)
    assert report.ok
    (unchecked,) = report.unchecked
    assert unchecked.startswith(f'array "rows": {BLOCK} bytes: no checksum is known')


def test_a_short_file(closed):
    file = closed / "data_rows.npkd"
    with file.open("r+b") as f:
        f.truncate(1000)
    for deep in (False, True):
        (problem,) = verified(closed, deep).problems
        assert 'array "rows"' in problem
        assert "317440" in problem
        assert "1000" in problem


def test_a_file_that_is_gone(closed):
    (closed / "data_few.npkd").unlink()
    for deep in (False, True):
        (problem,) = verified(closed, deep).problems
        assert "few" in problem


def test_a_flipped_byte_of_the_metadata(closed):
    """Each is told of: by whoever opens the store, or by verify."""
    file = closed / "metadata.npkm"
    for at in range(0, file.stat().st_size, 7):
        flip(file, at)
        try:
            report = verified(closed)
        except NumPackError:
            pass
        else:
            assert report.problems, at
        flip(file, at)
    assert verified(closed).ok


def test_leftovers(closed):
    (closed / ".npk" / "g00000000000000aa").write_bytes(b"left by a killed process")
    report = verified(closed)
    assert report.ok
    assert report.leftovers == [".npk/g00000000000000aa"]


def test_an_open_store_and_its_views(path, arrays):
    """What is not checkpointed has hashes in its records; replaced rows wait."""
    with NumPack(path) as npk:
        npk.save(arrays)
        view = npk.view("rows")
        report = npk.verify(deep=True)
        assert (report.problems, report.unchecked) == ([], [])
        npk.append({"rows": arrays["rows"]})
        report = npk.verify(deep=True)
        assert (report.problems, report.unchecked) == ([], [])
        assert report.checked_bytes == 600 * 1024 + 10 + 8
        npk.replace({"rows": np.zeros((1, 128))}, [0])
        report = npk.verify(deep=True)
        assert report.ok
        (unchecked,) = report.unchecked
        assert 'array "rows": 307200 bytes' in unchecked
        assert "in the journal" in str(report)
        assert_same(view, arrays["rows"])
        del view
        npk.checkpoint()
        report = npk.verify(deep=True)
        assert (report.problems, report.unchecked) == ([], [])
        assert report.checked_bytes == 600 * 1024 + 10 + 8


WRITER = """
import sys
import numpy as np
from numpack import NumPack

with NumPack(sys.argv[1]) as npk:
    print("open", flush=True)
    for k in range(150):
        npk.append({"rows": np.full((20, 128), k, float)})
        npk.replace({"rows": np.full((2, 128), -k, float)}, [k, 2 * k])
        npk.save({"saved": np.full(10_000, k)})
        if k % 10 == 0:
            npk.checkpoint()
"""


def test_beside_a_writer(closed):
    """No alarm at any moment, and in the end every row has a checksum."""
    writer = start_python(WRITER, closed)
    assert writer.stdout.readline() == "open\n"
    with NumPack(closed, mode="r") as npk:
        looked = 0
        while writer.poll() is None or looked == 0:
            report = npk.verify(deep=True)
            busy = all("too busy" in problem for problem in report.problems)
            assert busy, str(report)
            looked += 1
    finish(writer)
    report = verified(closed)
    assert (report.problems, report.unchecked, report.leftovers) == ([], [], [])
    assert report.checked_bytes == (310 + 150 * 20) * 1024 + 10 + 8 + 80_000


KILLED = """
import os, sys
import numpy as np
from numpack import NumPack

npk = NumPack(sys.argv[1])
npk.open()
npk.append({"few": np.array([7, 8], np.int16)})
npk.replace({"rows": np.full((1, 128), 5.0)}, [0])
os._exit(0)
"""


def test_a_killed_session(closed):
    run_python(KILLED, closed)
    report = verified(closed)
    assert report.ok
    with NumPack(closed) as npk:
        expected = npk.load("rows")
    report = verified(closed)
    assert report.ok
    with NumPack(closed, mode="r") as npk:
        assert_same(npk.load("rows"), expected)


def test_a_store_of_another_version(path, arrays, python_042):
    code = """
import sys
import numpy as np
from numpack import NumPack
with NumPack(sys.argv[1]) as npk:
    npk.save({"a": np.arange(1000)})
"""
    run_python(code, path, interpreter=python_042)
    report = verified(path)
    assert report.ok
    assert report.checked_bytes == 0
    (unchecked,) = report.unchecked
    assert unchecked.startswith('array "a": 8000 bytes: changed since written')


def test_segments_have_no_checksums(path):
    segmented(path, "long", [np.arange(10), np.arange(5)])
    report = verified(path)
    assert report.ok
    (unchecked,) = report.unchecked
    assert "segments of NumPack 0.7" in unchecked


def test_a_backup_has_checksums(closed, tmp_path):
    copy = tmp_path / "copy.npk"
    with NumPack(closed) as npk:
        npk.replace({"rows": np.ones((1, 128))}, [5])
        npk.backup(copy)
    report = verified(copy)
    assert (report.problems, report.unchecked, report.leftovers) == ([], [], [])
    assert report.checked_bytes == 310 * 1024 + 4 * 2 + 8
    flip(copy / "data_rows.npkd", 100_000)
    (problem,) = verified(copy).problems
    assert "blocks 1..2" in problem


# What 0.4.2 does to a store whose journal holds the changes of an unfinished session.
OTHER = """
import sys
import numpy as np
from numpack import NumPack
with NumPack(sys.argv[1]) as npk:
    npk.save({"passing": np.arange(3)})
    if sys.argv[2] == "back":
        npk.drop("passing")
"""


def test_repair_after_another_version(closed, python_042):
    """Metadata that it wrote anew for nothing is put back, and the waiting commits count."""
    run_python(KILLED, closed)
    with NumPack(closed, mode="r") as npk:
        expected = {name: npk.load(name) for name in npk.get_member_list()}
    assert expected["rows"][0, 0] == 5
    run_python(OTHER, closed, "back", interpreter=python_042)
    with pytest.raises(NumPackError, match="numpack verify --repair"), NumPack(closed) as npk:
        npk.save({"b": np.arange(2)})
    (problem,) = verified(closed).problems
    assert "numpack verify --repair" in problem
    assert command("verify", closed).returncode == 1
    ran = command("verify", "--repair", "--deep", "--json", closed)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["ok"]
    assert any("put metadata.npkm back" in done for done in report["repaired"])
    with NumPack(closed) as npk:
        assert_store(npk, expected)
    assert verified(closed).ok


def test_a_choice_that_repair_leaves(closed, python_042):
    run_python(KILLED, closed)
    run_python(OTHER, closed, "stay", interpreter=python_042)
    ran = command("verify", "--repair", closed)
    assert ran.returncode == 1
    assert "it saved, dropped or appended arrays" in ran.stderr
    with NumPack(closed, mode="r") as npk:
        assert_same(npk.load("passing"), np.arange(3))
    ran = command("verify", "--repair", "--discard-journal", closed)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with NumPack(closed) as npk:
        assert_same(npk.load("passing"), np.arange(3))
        assert npk.load("rows")[0, 0] == 0
        npk.save({"b": np.arange(2)})
    assert verified(closed).ok
