"""Long stories of a store that three parties change, seldom looked at, against NumPy.

Two handles of this process and one of another, which is killed now and then, also in the middle of
a change. Looks are rare: whoever looks has the files mapped, and a store goes other ways then.
"""

import multiprocessing
import os
import shutil
import time
from types import MappingProxyType

import numpy as np
import pytest
from acts import NAMES, choose, describe, draw, foresee, perform
from numpack import NotContiguousError, NumPack
from support import assert_same, assert_store

DEEP = bool(os.environ.get("NUMPACK_DEEP"))
STORIES = 400 if DEEP else 6
STEPS = 150
DURABILITIES = ("commit", "commit", "none", "full")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def serve(connection, path, durability):
    """The other process: does what comes, and says so or what went wrong."""
    npk = NumPack(path, durability=durability)
    npk.open()
    connection.send("")
    while True:
        act = connection.recv()
        if act is None:
            npk.close()
            connection.send("")
            os._exit(0)
        try:
            perform(act, npk)
            connection.send("")
        except Exception as error:
            connection.send(f"{type(error).__name__}: {error}")


class Other:
    """The other process, as this one sees it."""

    def __init__(self, method, path, durability):
        context = multiprocessing.get_context(method)
        self.connection, far = context.Pipe()
        self.process = context.Process(target=serve, args=(far, path, durability))
        self.process.start()
        far.close()
        self.hear()

    def hear(self):
        said = self.connection.recv()
        assert not said, said

    def begin(self, act):
        self.connection.send(act)

    def do(self, act):
        self.begin(act)
        self.hear()

    def kill(self):
        self.process.kill()
        self.process.join()
        self.connection.close()

    def end(self):
        self.do(None)
        self.process.join()
        assert self.process.exitcode == 0
        self.connection.close()


def difference(npk, state):
    """In what a store differs from a model; empty if it does not."""
    try:
        assert_store(npk, state)
    except AssertionError as error:
        return str(error)[:300] or "it differs"
    return ""


class Story:
    def __init__(self, folder, seed):
        self.generator = np.random.default_rng(seed)
        self.folder, self.path = folder, folder / "store.npk"
        self.state, self.held, self.told = {}, [], []
        self.interrupted = 0
        self.handles = [NumPack(self.path), NumPack(self.path)]
        for npk in self.handles:
            npk.open()
        self.other = self.start()

    # -------------------------------------------------------------- the cast
    def start(self):
        method = ["fork", "fork", "fork", "spawn"][self.generator.integers(4)]
        return Other(method, self.path, self.durability())

    def durability(self):
        return DURABILITIES[self.generator.integers(len(DURABILITIES))]

    def handle(self):
        return self.handles[self.generator.integers(2)]

    def tell(self, *words):
        self.told.append(" ".join(map(str, words)))

    # -------------------------------------------------------------- what happens
    def change(self):
        act = draw(self.generator, self.state)
        who = int(self.generator.integers(3))
        self.tell("handle", who, describe(act))
        if who == 2:
            self.other.do(act)
        else:
            perform(act, self.handles[who])
        self.state = foresee(act, self.state)

    def two_changes_at_once(self):
        """The other process and this one, each with arrays of its own."""
        mixed = [str(name) for name in self.generator.permutation(NAMES)]
        theirs = draw(self.generator, self.state, mixed[:2])
        ours = draw(self.generator, self.state, mixed[2:])
        self.tell("other", describe(theirs), "while", describe(ours))
        self.other.begin(theirs)
        perform(ours, self.handle())
        self.other.hear()
        self.state = foresee(ours, foresee(theirs, self.state))

    def kill_in_a_change(self):
        """The change is there as a whole afterwards, or not at all."""
        act = draw(self.generator, self.state)
        delay = float(self.generator.exponential(0.003))
        self.tell("other", describe(act), "killed after", delay)
        self.other.begin(act)
        time.sleep(delay)
        self.other.kill()
        # Who opens the store for writing takes over what was complete and nobody had been told of.
        self.other = self.start()
        after = foresee(act, self.state)
        npk = self.handle()
        without, whole = difference(npk, self.state), difference(npk, after)
        assert not without or not whole, f"without: {without}; with: {whole}"
        if without:
            self.state = after
        self.interrupted += bool(whole)

    def leave_without_a_word(self):
        self.tell("other killed between changes")
        self.other.kill()
        self.other = self.start()

    def reopen(self):
        which = int(self.generator.integers(3))
        self.tell("reopen", which)
        if which == 2:
            self.other.end()
            self.other = self.start()
            return
        self.handles[which].close()
        self.handles[which] = NumPack(self.path, durability=self.durability())
        self.handles[which].open()

    def close_all(self):
        """A closed store is worth a copy of its files, and its checksums tell of all of it."""
        self.tell("all closed")
        self.other.end()
        for npk in self.handles:
            npk.close()
        if self.generator.random() < 0.5:
            copy = self.folder / "copy"
            shutil.copytree(self.path, copy)
            with NumPack(copy) as npk:
                assert_store(npk, self.state)
            shutil.rmtree(copy)
        for npk in self.handles:
            npk.open()
        if self.generator.random() < 0.3:
            assert self.handle().verify(deep=True).ok
        self.other = self.start()

    def hold(self):
        if not self.state:
            return
        name = str(self.generator.choice(sorted(self.state)))
        door = str(self.generator.choice(["view", "private", "lazy", "part"]))
        self.tell("hold", name, door)
        npk, array = self.handle(), self.state[name]
        try:
            if door == "private":
                view = npk.load(name, copy=False)
            else:
                view = npk.view(name) if door == "view" else npk.load(name, lazy=True)
        except NotContiguousError:
            return
        if door == "part":
            view, array = view[1 : len(array) // 2], array[1 : len(array) // 2]
        self.held.append((view, array, f"{door} of {name}, step {len(self.told)}"))

    def release(self):
        self.tell("release", len(self.held))
        for held in self.held:
            assert_same(*held)
        self.held.clear()

    def look(self):
        """At one array, through one handle."""
        if not self.state:
            return
        name = str(self.generator.choice(sorted(self.state)))
        self.tell("look", name)
        npk, array = self.handle(), self.state[name]
        if len(array) and self.generator.random() < 0.5:
            rows = self.generator.integers(0, len(array), 20)
            assert_same(npk.getitem(name, rows), array[rows], name)
        else:
            assert_same(npk.load(name), array, name)

    def look_at_all(self):
        self.tell("look at all")
        for npk in self.handles:
            assert_store(npk, self.state)

    def copy_out(self):
        copy = self.folder / "backup"
        self.tell("backup")
        self.handle().backup(copy)
        with NumPack(copy, mode="r") as npk:
            assert_store(npk, self.state)
        shutil.rmtree(copy)

    SCENES = MappingProxyType(
        {
            change: 100,
            two_changes_at_once: 8,
            kill_in_a_change: 8,
            leave_without_a_word: 2,
            reopen: 6,
            close_all: 2,
            hold: 6,
            release: 4,
            look: 6,
            look_at_all: 3,
            copy_out: 1,
        }
    )

    def play(self):
        for _ in range(STEPS):
            choose(self.generator, self.SCENES)(self)
        self.look_at_all()
        self.close_all()
        self.look_at_all()
        self.release()

    def end(self):
        self.other.kill()
        for npk in self.handles:
            npk.close()


def play(folder, seed):
    """One story, told as far as it went if it ends badly."""
    story = Story(folder, seed)
    try:
        story.play()
    except BaseException as error:
        error.add_note(f"story {seed}:\n" + "\n".join(story.told[-40:]))
        raise
    finally:
        story.end()
    return story


def test_any_history_of_three_parties(tmp_path):
    interrupted = 0
    for seed in range(STORIES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        interrupted += play(folder, seed).interrupted
        shutil.rmtree(folder)
    # The kills are at work: some of them came before the change was there.
    assert interrupted > STORIES
