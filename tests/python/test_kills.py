"""kill -9 at any instant, over a long history of one store.

A worker does one step after another and acknowledges each through a pipe. It is killed when a
certain acknowledgement arrives, and whatever the pipe still holds counts as acknowledged. A model
of NumPy arrays says what the store must hold then: the acknowledged steps, and the one that was in
flight whole or not at all. The published 0.4.2 reads the same arrays from the closed store.
"""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from numpack import NumPack
from support import assert_same, digest, replaced, start_python

DEEP = bool(os.environ.get("NUMPACK_DEEP"))
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

# Three arrays that every call changes together, and two that come and go.
TOGETHER = {"ids": ("i8", ()), "emb": ("f4", (24,)), "tensor": ("u2", (2, 3))}
ALONE = {"ü alone": ("f8", (5,)), "flags": ("?", ())}
KINDS = {
    "replace a run": 16,
    "replace scattered": 16,
    "replace all": 4,
    "append": 14,
    "drop rows": 8,
    "batch": 8,
    "writable batch": 6,
    "save": 3,
    "alone": 12,
    "drop": 3,
    "update": 4,
    "sync": 2,
    "reopen": 5,
}


def rows(generator, names, count):
    """New rows for each of `names`, which share a random start."""
    start = int(generator.integers(100))
    result = {}
    for name in names:
        dtype, tail = {**TOGETHER, **ALONE}[name]
        size = count * int(np.prod(tail, dtype=int))
        result[name] = (np.arange(start, start + size) % 101).astype(dtype).reshape(count, *tail)
    return result


def deleted(state, names, picks):
    return {**state, **{name: np.delete(state[name], picks, axis=0) for name in names}}


def step(seed, number, state, npk=None):
    """Step `number` of a history: its effect on a model and, if given, on a store; one commit."""
    generator = np.random.default_rng((seed, number))
    weights = np.array(list(KINDS.values()), float)
    kind = str(generator.choice(list(KINDS), p=weights / weights.sum()))
    names = list(TOGETHER)
    if kind == "alone":
        return kind, step_alone(generator, state, npk)
    if kind in ("sync", "reopen"):
        if npk is not None:
            npk.sync() if kind == "sync" else (npk.close(), npk.open())
        return kind, state
    if kind == "drop":
        if npk is not None:
            npk.drop(list(ALONE))
        return kind, {name: array for name, array in state.items() if name not in ALONE}
    count = len(state.get("ids", ()))
    if kind == "save" or not 10 <= count < 20_000:
        new = rows(generator, names, int(generator.integers(300, 6000)))
        if npk is not None:
            npk.save(new)
        return "save", {**state, **new}
    if kind == "append":
        new = rows(generator, names, int(generator.integers(1, 400)))
        if npk is not None:
            npk.append(new)
        return kind, {**state, **{name: np.concatenate([state[name], new[name]]) for name in names}}
    if kind.startswith("replace"):
        if kind == "replace a run":
            start = int(generator.integers(count))
            picks = np.arange(start, min(count, start + int(generator.integers(1, 300))))
        elif kind == "replace all":
            picks = np.arange(count)
        else:
            picks = generator.integers(-count, count, int(generator.integers(1, 80)))
        new = rows(generator, names, len(picks))
        if npk is not None:
            npk.replace(new, picks)
        after = {name: replaced(state[name], picks, new[name]) for name in names}
        return kind, {**state, **after}
    if kind == "drop rows":
        picks = generator.integers(0, count, max(1, count // 20))
        if npk is not None:
            with npk.batch_mode():
                for name in names:
                    npk.drop(name, picks)
        return kind, deleted(state, names, picks)
    if kind == "update":
        picks = generator.integers(0, count, 3)
        name = names[int(generator.integers(3))]
        if npk is not None:
            npk.update(name)
        return kind, state
    return kind, step_in_block(generator, kind, state, npk)


def step_in_block(generator, kind, state, npk):
    """Changes in place and, in a batch, calls, that are one commit."""
    after = dict(state)
    for name in TOGETHER:
        after[name] = state[name].copy()
        after[name][:: len(state[name]) // 7 + 1] += 1
    if kind == "writable batch":
        if npk is not None:
            with npk.writable_batch_mode() as block:
                for name in TOGETHER:
                    block.load(name)[...] = after[name]
        return after
    more = rows(generator, TOGETHER, 11)
    if npk is not None:
        with npk.batch_mode():
            for name in TOGETHER:
                npk.load(name)[...] = after[name]
            npk.append(more)
            npk.drop("flags")
    after.pop("flags", None)
    return {**after, **{name: np.concatenate([after[name], more[name]]) for name in TOGETHER}}


def step_alone(generator, state, npk):
    """One of the arrays that are not always there: row deletions in place, among others."""
    name = str(generator.choice(list(ALONE)))
    count = len(state.get(name, ()))
    kind = generator.integers(4) if count > 20 else 0
    if kind == 0:
        new = rows(generator, [name], int(generator.integers(30, 3000)))
        if npk is not None:
            npk.save(new)
        return {**state, **new}
    picks = generator.integers(0, count, 9)
    if kind == 1:
        if npk is not None:
            npk.drop(name, picks)
        return deleted(state, [name], picks)
    new = rows(generator, [name], 9)
    if kind == 2:
        if npk is not None:
            npk.replace(new, picks)
        return {**state, name: replaced(state[name], picks, new[name])}
    if npk is not None:
        npk.append(new)
    return {**state, name: np.concatenate([state[name], new[name]])}


def difference(npk, state):
    """In what a store differs from a model; empty if it does not."""
    found = npk.load(npk.get_member_list())
    if sorted(found) != sorted(state):
        return f"arrays {sorted(found)} instead of {sorted(state)}"
    for name, array in state.items():
        if found[name].dtype != array.dtype or found[name].shape != array.shape:
            return f"{name!r} is {found[name].dtype} {found[name].shape}, not {array.shape}"
        if not np.array_equal(found[name], array):
            different = np.flatnonzero((found[name] != array).reshape(len(array), -1).any(1))
            return f"{name!r} differs in {len(different)} rows from {different[0]} on"
    return ""


def work(path, durability, seed, number, state, acknowledge):
    npk = NumPack(path, durability=durability)
    npk.open()
    while True:
        state = step(seed, number, state, npk)[1]
        acknowledge(number)
        number += 1


# A worker that shares nothing with the test but the file system.
WORKER = """
import sys
from test_kills import step, work

path, durability, seed, number = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
state = {}
for done in range(number):
    state = step(seed, done, state)[1]
work(path, durability, seed, number, state, lambda number: print(number, flush=True))
"""


def start(how, path, durability, seed, number, state):
    """A worker, forked or new: its process id, the acknowledgements, and what waits for its end."""
    if how == "new":
        worker = start_python(WORKER, path, durability, seed, number)

        def wait():
            worker.stdin.close()
            return -worker.wait()

        return worker.pid, worker.stdout, wait
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            work(path, durability, seed, number, state,
                 lambda number: os.write(writing, f"{number}\n".encode()))  # fmt: skip
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(3)
    os.close(writing)
    return child, os.fdopen(reading), lambda: os.WTERMSIG(os.waitpid(child, 0)[1])


# Prints what 0.4.2 finds in each store it is told of.
READER_042 = """
import hashlib, json, sys
import numpack
from numpack import NumPack

assert numpack.__version__ == "0.4.2"
for line in sys.stdin:
    found = {}
    with NumPack(json.loads(line)) as npk:
        for name in npk.get_member_list():
            array = npk.load(name)
            content = hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
            found[name] = [array.dtype.name, list(array.shape), content]
    print(json.dumps(found), flush=True)
"""


def read_by_042(reader, path, turn):
    """What 0.4.2 finds in a copy, since it may write where it reads."""
    copy = path.parent / f"copy {turn}"
    shutil.copytree(path, copy)
    reader.stdin.write(json.dumps(str(copy)) + "\n")
    reader.stdin.flush()
    found = json.loads(reader.stdout.readline())
    shutil.rmtree(copy)
    return found


@pytest.mark.parametrize("how", ["forked", "new"])
def test_kill_9_at_any_instant(path, how, python_042):
    kills = {"forked": 4900 if DEEP else 52, "new": 100 if DEEP else 8}[how]
    generator = np.random.default_rng(41)
    seed, number, state, interrupted, done = 23, 0, {}, 0, {}
    held = None
    with start_python(READER_042, interpreter=python_042) as reader:
        for turn in range(kills):
            durability = ["commit", "none", "full"][turn % 3]
            child, acknowledged, wait = start(how, path, durability, seed, number, state)
            last = number - 1
            for _ in range(int(generator.integers(1, 25))):
                last = int(acknowledged.readline())
            # Sometimes at once, sometimes in the middle of whatever comes next.
            for _ in range(int(generator.integers(30_000)) * (turn % 2)):
                pass
            os.kill(child, signal.SIGKILL)
            with acknowledged:
                for line in acknowledged:
                    if line.endswith("\n"):
                        last = int(line)
            assert wait() == signal.SIGKILL
            while number <= last:
                kind, state = step(seed, number, state)
                done[kind] = done.get(kind, 0) + 1
                number += 1
            kind, further = step(seed, number, state)
            with NumPack(path) as npk:
                without, whole = difference(npk, state), difference(npk, further)
                assert not without or not whole, (
                    f"kill {turn} ({durability}): without step {number} ({kind}): {without}; "
                    f"with it: {whole}"
                )
                interrupted += bool(whole)
                if without:
                    state, number = further, number + 1
                if held is not None:
                    assert_same(*held, f"a view from before kill {turn}")
                held = None
                if turn % 3 and not npk.get_metadata()["arrays"]["emb"]["deleted"]:
                    held = npk.view("emb"), state["emb"]
            found = read_by_042(reader, path, turn)
            expected = {
                name: [array.dtype.name, list(array.shape), digest(array)]
                for name, array in state.items()
            }
            assert found == expected, f"0.4.2 after kill {turn}"
    assert number > 5 * kills and interrupted > kills / 2
    if how == "forked":
        assert set(done) == set(KINDS), set(KINDS) - set(done)
