"""Three writers and three readers on one store: no torn row, no torn commit, nothing goes back.

Every row carries who wrote it, by which operation, and a checksum of itself. Each commit writes the
same stamps into rows of two arrays: some of the writer's own section, and some of a section that
all share. So the number of a writer's latest operation, as a snapshot shows it, tells every stamp
that its section must have in this snapshot.
"""

import contextlib
import os
import select
import sys

import numpy as np
import pytest
from numpack import NumPack
from support import digest, finish, start_python

DEEP = bool(os.environ.get("NUMPACK_DEEP"))
OPERATIONS = 20_000 if DEEP else 400
ROUNDS = 5000 if DEEP else 60
STATES = 25
WRITERS = 3
SECTION = 500
ROWS = (WRITERS + 1) * SECTION


def stamped(writer, number, rows):
    """Rows of the two arrays as operation `number` of a writer writes them into `rows`."""
    wide = np.empty((len(rows), 12), np.int64)
    wide[:, 0], wide[:, 1], wide[:, 2] = writer, number, rows
    wide[:, 3:11] = (wide[:, :1] * 7 + wide[:, 1:2] * 31 + wide[:, 2:3]) * np.arange(1, 9)
    wide[:, 11] = wide[:, :11].sum(1)
    narrow = np.empty((len(rows), 4))
    narrow[:, :3] = wide[:, :3]
    narrow[:, 3] = narrow[:, :3].sum(1)
    return {"wide": wide, "narrow": narrow}


def picks_of(writer, number):
    """The rows of an operation: a run, scattered ones or all of the section; and five of all."""
    generator = np.random.default_rng((writer, number))
    kind = generator.integers(5)
    if kind < 2:
        own = np.arange(20) + int(generator.integers(SECTION - 20))
    elif kind < 4:
        own = generator.permutation(SECTION)[: int(generator.integers(1, 40))]
    else:
        own = np.arange(SECTION)
    shared = WRITERS * SECTION + generator.permutation(SECTION)[:5]
    return np.concatenate([writer * SECTION + own, shared])


class Section:
    """The stamps of a writer's section after any number of its operations, in ascending order."""

    def __init__(self, writer):
        self.writer = writer
        self.last = np.full(SECTION, -1)
        self.done = -1

    def after(self, number):
        """The stamp of each row when `number` is the latest operation."""
        while self.done < number:
            self.done += 1
            own = picks_of(self.writer, self.done)[:-5]
            self.last[own - self.writer * SECTION] = self.done
        return self.last


def write(path, writer):
    """Does operations until there are enough and the parent says stop; prints how many."""
    npk = NumPack(path, durability=["commit", "none", "full"][writer])
    npk.open()
    print("open", flush=True)
    sys.stdin.readline()
    number = 0
    while number < OPERATIONS or not select.select([sys.stdin], [], [], 0)[0]:
        rows = picks_of(writer, number)
        npk.replace(stamped(writer, number, rows), rows)
        npk.append({"log": np.array([[writer, number]]), "log too": np.array([number])})
        if number % 60 == 59:
            npk.close()
            npk.open()
        number += 1
    npk.close()
    print(number)


class Reader:
    """Checks one snapshot after the other, also against those before."""

    def __init__(self, npk):
        self.npk = npk
        self.sections = [Section(writer) for writer in range(WRITERS)]
        self.shared = np.full((WRITERS, SECTION), -1)
        self.logged = [-1] * WRITERS
        self.states = set()
        self.held = []

    def check(self, wide, narrow):
        rows = np.arange(ROWS)
        expected = stamped(wide[:, 0], wide[:, 1], rows)
        torn = np.flatnonzero((wide != expected["wide"]).any(1))
        assert not len(torn), f"torn row {torn[0]}: {wide[torn[0]]}"
        apart = np.flatnonzero((narrow != expected["narrow"]).any(1))
        assert not len(apart), f"row {apart[0]}: {wide[apart[0]]} beside {narrow[apart[0]]}"
        latest = []
        for writer, section in enumerate(self.sections):
            stamps = wide[writer * SECTION : (writer + 1) * SECTION, 1]
            number = int(stamps.max())
            assert number >= section.done, f"writer {writer}: {section.done}, and then {number}"
            assert np.array_equal(stamps, section.after(number)), f"a part of {writer}, {number}"
            latest.append(number)
        writers, numbers = wide[-SECTION:, 0], wide[-SECTION:, 1]
        assert (numbers <= np.array(latest)[writers]).all(), "a part of a commit"
        places = np.arange(SECTION)
        assert (numbers >= self.shared[writers, places]).all(), "a shared row went back"
        self.shared[writers, places] = numbers
        self.states.add(tuple(latest))

    def check_log(self, log, too):
        assert np.array_equal(log[:, 1], too)
        for writer in range(WRITERS):
            numbers = log[log[:, 0] == writer, 1]
            assert np.array_equal(numbers, np.arange(len(numbers))), f"the log of {writer}"
            assert len(numbers) - 1 >= self.logged[writer], f"the log of {writer} went back"
            self.logged[writer] = len(numbers) - 1

    def hold(self, view):
        self.held.append((view, digest(view)))
        for kept, before in self.held:
            assert digest(kept) == before, "a view has changed"
        del self.held[:-10]

    def round(self, number):
        both = ["wide", "narrow"]
        door = number % 6
        if door == 0:
            self.check(*self.npk.load(both).values())
        elif door == 1:
            lazy = self.npk.load(both, lazy=True)
            self.check(lazy["wide"][:], lazy["narrow"][:])
            self.hold(lazy["wide"])
        elif door == 2:
            table = self.npk.table(*both).to_arrow(zero_copy_only=True)
            self.check(of_lists(table["wide"], 12), of_lists(table["narrow"], 4))
        elif door == 3:
            query = "SELECT narrow, wide, row_id FROM self WHERE row_id >= 0"
            found = self.npk.table(*both).sql(query).to_numpy()
            order = np.argsort(found["row_id"])
            self.check(found["wide"][order], found["narrow"][order])
        elif door == 4:
            view = self.npk.view("wide")
            self.check(view, stamped(view[:, 0], view[:, 1], view[:, 2])["narrow"])
            self.hold(view)
            picks = [5, -1, SECTION, 3, 3]
            part = self.npk.getitem("wide", picks)
            assert np.array_equal(part, stamped(part[:, 0], part[:, 1], part[:, 2])["wide"])
            assert np.array_equal(part[:, 2], np.arange(ROWS)[picks])
        else:
            self.check_log(*self.npk.load(["log", "log too"]).values())


def of_lists(column, width):
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=True).reshape(-1, width)


def read(path):
    """Rounds until there are enough and enough different states were seen; prints how many."""
    with NumPack(path, mode="r") as npk:
        reader = Reader(npk)
        print("open", flush=True)
        sys.stdin.readline()
        number = 0
        while number < ROUNDS or len(reader.states) < STATES:
            reader.round(number)
            number += 1
    print(len(reader.states))


def test_writers_and_readers_of_one_store(path):
    everybody = np.repeat([*range(WRITERS), 0], SECTION)
    first = stamped(everybody, np.full(ROWS, -1), np.arange(ROWS))
    with NumPack(path) as npk:
        npk.save({**first, "log": np.zeros((0, 2), int), "log too": np.zeros(0, int)})
    code = "import sys, test_stress\ntest_stress.{}(sys.argv[1], *map(int, sys.argv[2:]))"
    with contextlib.ExitStack() as stack:

        def start(verb, *arguments):
            return stack.enter_context(start_python(code.format(verb), path, *arguments))

        writers = [start("write", writer) for writer in range(WRITERS)]
        readers = [start("read") for _ in range(3)]
        for process in writers + readers:
            assert process.stdout.readline() == "open\n"
        for process in readers + writers:
            process.stdin.write("go\n")
            process.stdin.flush()
        for reader in readers:
            assert int(finish(reader)) >= STATES
        counts = [int(finish(writer, "stop\n")) for writer in writers]
    assert min(counts) >= OPERATIONS
    with NumPack(path) as npk:
        end = Reader(npk)
        for number in range(6):
            end.round(number)
        assert end.states == {tuple(count - 1 for count in counts)}
        assert end.logged == [count - 1 for count in counts]


def test_the_reader_sees_what_it_is_to_see(npk):
    """The checks of the test above, on stores that are wrong in one row each."""
    everybody = np.repeat([*range(WRITERS), 0], SECTION)
    first = stamped(everybody, np.full(ROWS, -1), np.arange(ROWS))
    rows = picks_of(1, 0)
    then = stamped(1, 0, rows)

    def check(**changed):
        npk.save({**first, "log": np.zeros((0, 2), int), "log too": np.zeros(0, int)})
        reader = Reader(npk)
        for number in range(6):
            reader.round(number)
        for name, (picks, new) in changed.items():
            npk.replace({name: new}, picks)
        for number in range(6):
            reader.round(number)
        return reader

    check()
    whole = check(wide=(rows, then["wide"]), narrow=(rows, then["narrow"]))
    assert whole.states == {(-1, -1, -1), (-1, 0, -1)}
    torn = then["wide"].copy()
    torn[3, 7] += 1
    wrong = {
        "torn row": {"wide": (rows, torn), "narrow": (rows, then["narrow"])},
        "beside": {"wide": (rows, then["wide"])},
        "a part of": {
            "wide": (rows[1:], then["wide"][1:]),
            "narrow": (rows[1:], then["narrow"][1:]),
        },
        "a part of a commit": {
            "wide": (rows[-2:], then["wide"][-2:]),
            "narrow": (rows[-2:], then["narrow"][-2:]),
        },
    }
    for message, changes in wrong.items():
        with pytest.raises(AssertionError, match=message):
            check(**changes)
    with pytest.raises(AssertionError, match="and then -1"):
        npk.save(first)
        whole.round(0)
