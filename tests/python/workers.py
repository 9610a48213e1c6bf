"""What the processes of test_workers.py run: importable, so that spawn and forkserver find it."""

import multiprocessing
import os
import sys

import numpy as np
from numpack import NumPack
from support import assert_same, digest

ROWS = 4000


class Samples:
    """A data set over two arrays, as a loader hands it to its workers: pickled or forked."""

    def __init__(self, npk):
        self.npk = npk

    def __getitem__(self, rows):
        self.npk.open()
        emb = self.npk.load("emb", lazy=True)
        return emb[rows], self.npk.getitem("label", rows)


def serve(samples, orders, batches):
    """A loader's worker: lists of rows in, batches out, until None comes. It notes what it does."""
    done = 0
    for number, rows in iter(orders.get, None):
        emb, label = samples[rows]
        samples.npk.append({"log": np.array([[os.getpid(), number]])})
        samples.npk.replace({"seen": np.ones(len(rows), bool)}, rows)
        batches.put((number, emb, label))
        done += 1
    batches.put((None, os.getpid(), done))


def load_all(method, path):
    """An epoch of a loader with three workers, beside views and an open handle of the parent."""
    context = multiprocessing.get_context(method)
    emb = np.arange(ROWS * 4, dtype=np.float32).reshape(ROWS, 4)
    npk = NumPack(path)
    npk.open()
    npk.save({"emb": emb, "label": np.arange(ROWS), "seen": np.zeros(ROWS, bool)})
    npk.save({"log": np.zeros((0, 2), int)})
    npk.replace({"emb": emb[:3]}, range(3))
    views = [
        npk.view("emb"),
        npk.view("seen"),
        npk.load("emb", lazy=True),
        npk.load("log", lazy=True),
    ]
    before = [digest(view) for view in views]
    orders, batches = context.Queue(), context.Queue()
    workers = [
        context.Process(target=serve, args=(Samples(npk), orders, batches)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    mixed = np.random.default_rng(3).permutation(ROWS).reshape(50, -1)
    for number, rows in enumerate(mixed):
        orders.put((number, rows.tolist()))
        npk.replace({"label": rows[:2]}, rows[:2])  # the parent writes as well
    for _ in workers:
        orders.put(None)
    found, done = {}, {}
    while len(done) < len(workers):
        number, first, second = batches.get()
        if number is None:
            done[first] = second
        else:
            found[number] = first, second
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(found) == list(range(50)) and sum(done.values()) == 50
    for number, (some, label) in found.items():
        assert_same(some, emb[mixed[number]])
        assert_same(label, mixed[number])
    assert [digest(view) for view in views] == before
    assert npk["seen"].all()
    log = npk["log"]
    assert sorted(log[:, 1]) == list(range(50))
    for pid, count in done.items():
        assert (log[:, 0] == pid).sum() == count
    npk.close()
    assert [digest(view) for view in views] == before
    print(len(done), flush=True)


# ---------------------------------------------------------------------- writers that die
BIG = 3_000_000


def write_for_ever(path):
    """Replaces a large array again and again, each time under the writer lock for long."""
    npk = NumPack(path)
    npk.open()
    number = 0
    while True:
        number += 1
        npk.replace({"big": np.full(BIG, number)}, slice(None))


def lock_holders(path):
    """The processes that hold the writer lock of a store, as the kernel tells."""
    inode = os.stat(os.path.join(path, ".npk", "LOCK")).st_ino
    with open("/proc/locks") as locks:
        fields = [line.split() for line in locks]
    return {
        int(field[4])
        for field in fields
        if field[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and field[5].endswith(f":{inode}")
    }


def fork_while_writing(path):
    """Forks children while a thread writes, and says who they are; they do nothing and stay."""
    import threading

    threading.Thread(target=write_for_ever, args=(path,), daemon=True).start()
    children = []
    while len(children) < 4:
        while os.getpid() not in lock_holders(path):
            pass
        child = os.fork()
        if child == 0:
            sys.stdin.read()  # ends when the test closes the pipe
            os._exit(0)
        # Still held after the fork: most likely it was held all the time.
        if os.getpid() in lock_holders(path):
            children.append(child)
    print(*children, flush=True)
    while True:
        sys.stdin.read()
        threading.Event().wait()


def lock_by_hand_and_fork(path):
    """What an engine does that shares its lock with its children: for the test of the test."""
    import fcntl

    lock = os.open(os.path.join(path, ".npk", "LOCK"), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    child = os.fork()
    if child == 0:
        sys.stdin.read()
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
