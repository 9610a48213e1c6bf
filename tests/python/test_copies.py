"""A closed store is its files: copied, moved or packed by any tool it is the same store."""

import os
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
from filesystems import filesystem
from numpack import NumPack
from support import DTYPES, assert_same, assert_store, run_python, sample


def cp(source, target):
    subprocess.run(["/bin/cp", "-a", str(source), str(target)], check=True)


def copytree(source, target):
    shutil.copytree(source, target, dirs_exist_ok=True)


def by_content(source, target):
    """As rsync without -a: file by file under another name first, in any order, with new times."""
    for file in sorted(source.rglob("*"), reverse=True):
        place = target / file.relative_to(source)
        if file.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            other = place.with_name(f".{place.name}.XYZ")
            other.write_bytes(file.read_bytes())
            other.replace(place)
    for place in sorted(target.rglob("*"), reverse=True):
        if place.is_file() and not (source / place.relative_to(target)).exists():
            place.unlink()


def through_tar(source, target):
    packed = target.with_suffix(".tar")
    subprocess.run(["/bin/tar", "-cf", packed, "-C", source, "."], check=True)
    target.mkdir(exist_ok=True)
    with tarfile.open(packed) as archive:
        archive.extractall(target, filter="data")
    packed.unlink()


def move(source, target):
    """To another place, and a copy left where it was."""
    kept = source.with_name("kept")
    shutil.copytree(source, kept)
    source.rename(target)
    kept.rename(source)


def without_private_files(source, target):
    """What 0.4.2 would have copied: the journal of a closed store holds nothing."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".npk"))


WAYS = [cp, copytree, by_content, through_tar, move, without_private_files]


@pytest.fixture
def closed(path):
    """A closed store with a past, and what it holds."""
    arrays = {dtype.name: sample(dtype, (300, 3), 3) for dtype in DTYPES}
    arrays["ü x"] = np.arange(70_000)
    with NumPack(path) as npk:
        npk.save(arrays)
        npk.save({"gone": np.arange(5)})
    with NumPack(path) as npk:
        for name, array in list(arrays.items()):
            npk.replace({name: array[:2]}, [7, -1])
            npk.append({name: array[5:25]})
            array = array.copy()
            array[[7, -1]] = array[:2]
            arrays[name] = np.concatenate([array, arrays[name][5:25]])
        npk.drop("int64", [0, 5, 100])
        arrays["int64"] = np.delete(arrays["int64"], [0, 5, 100], axis=0)
        npk.drop("gone")
        npk.update("float32")
    return arrays


READ_042 = """
import sys
import numpy as np
import numpack
from numpack import NumPack

assert numpack.__version__ == "0.4.2"
with np.load(sys.argv[1]) as archive:
    expected = {str(name): archive[f"x{k}"] for k, name in enumerate(archive["names"])}
for path in sys.argv[2:]:
    with NumPack(path) as npk:
        assert sorted(npk.get_member_list()) == sorted(expected), npk.get_member_list()
        for name, array in expected.items():
            found = npk.load(name)
            assert found.dtype == array.dtype and found.shape == array.shape, (path, name)
            assert found.tobytes() == array.tobytes(), (path, name)
print(len(sys.argv) - 2)
"""


def work_on(path, arrays):
    """Reads a store, changes every array, and reads it again."""
    with NumPack(path, mode="r") as npk:
        assert_store(npk, arrays)
    with NumPack(path) as npk:
        held = {name: npk.load(name, lazy=True) for name in arrays}
        changed = {}
        for name, array in arrays.items():
            npk.replace({name: array[10:12]}, [3, 1])
            npk.append({name: array[:1]})
            changed[name] = np.concatenate([array, array[:1]])
            changed[name][[3, 1]] = array[10:12]
        assert_store(npk, changed)
        for name, array in arrays.items():
            assert_same(held[name][:], array, name)
    with NumPack(path) as npk:
        assert_store(npk, changed)


def test_every_way_gives_a_working_store(path, tmp_path, closed, python_042):
    copies = {way: tmp_path / f"{way.__name__}.npk" for way in WAYS}
    for way, copy in copies.items():
        way(path, copy)
        with NumPack(copy, mode="r") as npk:
            assert_store(npk, closed)
    values = {f"x{number}": array for number, array in enumerate(closed.values())}
    np.savez(tmp_path / "expected.npz", names=np.array(list(closed)), **values)
    apart = [shutil.copytree(copy, f"{copy}.old") for copy in copies.values()]
    answer = run_python(READ_042, tmp_path / "expected.npz", *apart, interpreter=python_042)
    assert answer.stdout == f"{len(WAYS)}\n"
    for copy in [*copies.values(), path]:
        work_on(copy, closed)
    # 0.4.2 may have written where it read.
    work_on(apart[0], closed)


@pytest.mark.parametrize("way", [copytree, by_content, through_tar])
def test_a_copy_over_an_older_copy(path, tmp_path, closed, way):
    """As a backup is brought up to date: files that are in both keep their inode or get another."""
    copy = tmp_path / "copy.npk"
    way(path, copy)
    with NumPack(copy, mode="r") as npk:
        view = np.array(npk.view("float32"))
        assert_same(view, closed["float32"])
    newer = dict(closed)
    for turn in range(3):
        with NumPack(path) as npk:
            for name in closed:
                npk.replace({name: newer[name][turn + 20 : turn + 25]}, range(5))
                newer[name] = newer[name].copy()
                newer[name][:5] = newer[name][turn + 20 : turn + 25].copy()
            npk.append({"bool": newer["bool"][:9]})
            newer["bool"] = np.concatenate([newer["bool"], newer["bool"][:9]])
        way(path, copy)
        with NumPack(copy, mode="r") as npk:
            assert_store(npk, newer)
    work_on(copy, newer)


def test_a_copy_on_another_file_system(path, tmp_path, closed):
    with filesystem("shm", tmp_path) as directory:
        assert os.stat(directory).st_dev != os.stat(tmp_path).st_dev
        cp(path, directory / "copy.npk")
        work_on(directory / "copy.npk", closed)
        cp(directory / "copy.npk", tmp_path / "back.npk")
    with NumPack(tmp_path / "back.npk") as npk:
        assert npk.get_shape("ü x") == (len(closed["ü x"]) + 1,)


def test_two_copies_do_not_know_each_other(path, tmp_path, closed):
    """Generations are random numbers that a copy shares with its original, and nothing else."""
    copy = tmp_path / "copy.npk"
    cp(path, copy)
    with NumPack(path) as one, NumPack(copy) as two:
        views = one.view("float32"), two.view("float32")
        one.replace({"float32": closed["float32"][:1]}, [5])
        two.append({"float32": closed["float32"][:2]})
        assert_same(one["float32"][5], closed["float32"][0])
        assert_same(two["float32"], np.concatenate([closed["float32"], closed["float32"][:2]]))
        for view in views:
            assert_same(view, closed["float32"])
    with NumPack(path) as one:
        assert one.get_shape("float32") == closed["float32"].shape
