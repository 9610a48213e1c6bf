"""Hostile names, and hostile things in the places of a store's files."""

import os
import shutil
import unicodedata

import numpy as np
import pytest
from numpack import NumPack
from support import assert_same, assert_store, listing, run_python, start_python

NAMES = [
    "", ".", "..", "...", "../x", "../../x", "a/b", "a//b", "/", "//", "/etc/passwd", "a/../../b",
    "./a", "a/", "..\\x", "a\\b", "C:\\x", "C:", "~", "~root", "$HOME", "`id`", "$(id)", "a;b",
    "a|b", "a>b", "*", "?", "[a]", "{a}", "'", '"', "\\", "-", "--help", "a", "A", "a ", " a", " ",
    "a.", "a..", ".a", "CON", "con.txt", "NUL", "LPT1", "%41", "%", "%%", "%2F", "%2f", "%00",
    "a%2Fb", "é", unicodedata.normalize("NFD", "é"), "ﬁ", "ß", "SS", "İ", "a\nb", "a\tb", "\r",
    "\x01", "\x7f", "\x1b[31m", "\u202e", "\u200b", "\ufeff", "\uffff", "🦀", "👩‍👩‍👧",
    "日本", "x" * 239, "x" * 240, "x" * 241, "x" * 255, "x" * 300, "é" * 120, "é" * 121, "é" * 150,
    "x" * 5000, "data_a.npkd", "data_", ".npk", ".npk/journal", "metadata.npkm", "journal", "LOCK",
    "deleted_a", "self", "row_id", "value", "arrays", "a.npkd", "segments", "a_segments", "None",
]  # fmt: skip
IMPOSSIBLE = ["\0", "a\0b", "a\0", "\ud800", "a\udfffb", "\udc80"]


def array(number):
    return np.arange(number, number + 12, dtype=np.int32).reshape(6, 2)


@pytest.fixture
def outside(path):
    """A directory above the store, with files that names could lead to."""
    directory = path.parent
    for name in ("x", "b", "data_x.npkd", "passwd"):
        (directory / name).write_bytes(b"not the store's")
    return directory


def others(directory):
    return {name: what for name, what in listing(directory).items() if not name.startswith("store")}


def test_there_are_many_names():
    assert len(NAMES) == len(set(NAMES)) >= 60
    folded = {unicodedata.normalize("NFKC", name).casefold() for name in NAMES}
    assert len(folded) < len(NAMES)  # some differ only by case or by the form of a letter


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
def test_a_name_goes_round(path, outside, name):
    before = others(outside)
    expected = array(1)
    with NumPack(path) as npk:
        npk.save({name: expected})
        npk.append({name: array(50)})
        npk.replace({name: array(90)[:2]}, [0, -1])
        npk.drop(name, [1, 2])
        expected = np.concatenate([expected, array(50)])
        expected[[0, -1]] = array(90)[:2]
        expected = np.delete(expected, [1, 2], axis=0)
        assert_store(npk, {name: expected})
    with NumPack(path) as npk:
        assert npk.get_member_list() == [name] and name in npk and name + "x" not in npk
        assert_store(npk, {name: expected})
        npk.update(name)
        assert_same(npk.view(name), expected)
        assert_same(npk.load(name, lazy=True)[::-1], expected[::-1])
        assert_same(npk.getitem(name, [1]), expected[[1]])
        found = npk.table(name).to_arrow()
        assert found.column_names == [name] and len(found) == len(expected)
        npk.rename(name, "other")
        npk.clone("other", name)
        npk.drop("other")
        with npk.batch_mode():
            npk.load(name)[0] = 7
        expected[0] = 7
    files = [file for file in path.rglob("*") if file.is_file()]
    assert all(file.parent in (path, path / ".npk") for file in files)
    assert len([file for file in path.iterdir() if file.suffix == ".npkd"]) == 1
    with NumPack(path, mode="r") as npk:
        assert_store(npk, {name: expected})
    with NumPack(path) as npk:
        npk.drop(name)
        assert npk.get_member_list() == []
    assert not [file for file in path.iterdir() if file.suffix == ".npkd"]
    assert others(outside) == before


def test_all_names_in_one_store(path, outside):
    before = others(outside)
    expected = {name: array(number) for number, name in enumerate(NAMES)}
    with NumPack(path) as npk:
        for name, values in expected.items():
            npk.save({name: values})
        assert_store(npk, expected)
    with NumPack(path) as npk:
        assert npk.get_member_list() == NAMES
        npk.replace({name: np.full((1, 2), -1, "i4") for name in NAMES}, [3])
        for values in expected.values():
            values[3] = -1
    with NumPack(path, mode="r") as npk:
        assert_store(npk, expected)
        assert npk.table().to_arrow().column_names == NAMES
    assert others(outside) == before


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=ascii)
def test_an_impossible_name_is_a_value_error(path, outside, name):
    with NumPack(path) as npk:
        npk.save({"a": array(0)})
        before = others(outside)
        calls = [
            lambda: npk.save({name: array(1)}),
            lambda: npk.save({"new": array(1), name: array(1)}),
            lambda: npk.create(name, 3, "i4"),
            lambda: npk.rename("a", name),
            lambda: npk.clone("a", name),
        ]
        for call in calls:
            with pytest.raises(ValueError) as caught:
                call()
            assert "name" in str(caught.value) or "surrogates" in str(caught.value)
        for call in (npk.load, npk.view, npk.update, npk.get_shape):
            with pytest.raises((KeyError, ValueError)):
                call(name)
        assert_store(npk, {"a": array(0)})
    assert others(outside) == before


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=ascii)
def test_an_impossible_name_is_in_no_store(npk, name):
    npk.save({"a": array(0)})
    assert name not in npk and not npk.has_array(name)


# ---------------------------------------------------------------------- things in places of files
def as_link(place, target):
    place.symlink_to(target)


def as_dangling_link(place, target):
    place.symlink_to(target.parent / "nothing")


def as_fifo(place, target):
    os.mkfifo(place)


def as_directory(place, target):
    place.mkdir()
    (place / "kept").write_bytes(b"kept")


# In a process of its own, which a FIFO would block for good.
TRY = """
import sys
import numpy as np
from numpack import NumPack

for line in sys.stdin:
    path, call = line.rstrip("\\n").split("\\t")
    npk = NumPack(path)
    try:
        npk.open()
        if call == "read":
            [npk.load(name) for name in npk.get_member_list()]
        elif call == "view":
            npk.view("a")
        else:
            npk.replace({"a": np.zeros((1, 2), "i4")}, [3])
            npk.drop("b", [1])
            npk.append({"a": np.zeros((1, 2), "i4")})
            npk.close()
        print("nothing", flush=True)
    except Exception as error:
        plain = not isinstance(error, (SystemError, AttributeError)) and str(error)
        kind = type(error).__name__ if plain else repr(error)
        print(kind, str(error).replace("\\n", " "), flush=True)
"""

FILES = ["data_a.npkd", "deleted_b.npkb", "metadata.npkm", ".npk/journal", ".npk/LOCK", ".npk"]
PUT = [as_link, as_dangling_link, as_fifo, as_directory]


@pytest.mark.parametrize("put", PUT)
def test_what_is_no_file_is_refused_and_not_followed(path, tmp_path, put):
    pattern = tmp_path / "pattern.npk"
    with NumPack(pattern) as npk:
        npk.save({"a": array(0), "b": array(5)})
        npk.drop("b", [2])
    refused = 0
    with start_python(TRY) as worker:
        for file in FILES:
            for call in ("read", "view", "write"):
                if put is as_directory and file == ".npk":
                    continue
                shutil.rmtree(path, ignore_errors=True)
                shutil.copytree(pattern, path)
                target = tmp_path / "target"
                shutil.rmtree(target, ignore_errors=True)
                target.unlink(missing_ok=True)
                os.rename(path / file, target)
                put(path / file, target)
                before = (
                    listing(tmp_path / "target"),
                    target.lstat().st_mtime_ns,
                    target.lstat().st_size,
                )
                content = target.read_bytes() if target.is_file() else None
                worker.stdin.write(f"{path}\t{call}\n")
                worker.stdin.flush()
                answer = worker.stdout.readline()
                where = f"{put.__name__} for {file}, {call}: {answer}"
                # A lock file is looked at by writers only; what has been deleted by readers of b.
                if answer == "nothing\n":
                    assert (file, call) in UNSEEN, where
                else:
                    error = answer.split()[0]
                    assert error in CLEAR, where
                    assert os.path.basename(file) in answer or str(path) in answer, where
                    refused += 1
                after = (
                    listing(tmp_path / "target"),
                    target.lstat().st_mtime_ns,
                    target.lstat().st_size,
                )
                assert after == before, where
                assert content is None or target.read_bytes() == content, where
                assert not (tmp_path / "nothing").exists(), where
    assert refused >= 8


# The last one where .npk itself is no directory.
CLEAR = ["StorageError", "CorruptStoreError", "NotAStoreError", "StoreExistsError"]
UNSEEN = {(".npk/LOCK", "read"), (".npk/LOCK", "view")}


def test_a_store_that_is_a_link_itself(path, tmp_path):
    """Above the store links are the user's business."""
    with NumPack(tmp_path / "real.npk") as npk:
        npk.save({"a": array(0)})
    path.symlink_to(tmp_path / "real.npk")
    with NumPack(path) as npk:
        npk.replace({"a": array(1)}, range(6))
    with NumPack(tmp_path / "real.npk") as npk:
        assert_store(npk, {"a": array(1)})


def test_a_store_that_is_no_directory(path):
    for make in (lambda: path.write_bytes(b"x"), lambda: os.mkfifo(path)):
        make()
        answer = run_python(
            "import sys\nfrom numpack import NumPack\n"
            "try: NumPack(sys.argv[1]).open()\n"
            "except OSError as error: print(error)",
            path,
            timeout=60,
        ).stdout
        assert str(path) in answer
        path.unlink()
