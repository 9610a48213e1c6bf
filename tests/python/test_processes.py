"""Real second processes: kills, appenders, readers beside a writer, locks, forks, Ctrl-C."""

import os
import signal
import threading

import history
import numpack
import numpy as np
import pytest
from numpack import NumPack
from support import assert_same, assert_store, digest, finish, run_python, start_python

DEEP = bool(os.environ.get("NUMPACK_DEEP"))
# Forking beside our threads is what some of these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

WORKER = """
import sys
from numpack import NumPack
import history

path, seed, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
state = {}
for done in range(number):
    state = history.step(seed, done, state)
npk = NumPack(path)
npk.open()
while True:
    state = history.step(seed, number, state, npk)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    number += 1
"""


def work(path, seed, number, state, channel):
    """What a forked worker does: one step after another, each reported when it has returned."""
    npk = NumPack(path)
    npk.open()
    while True:
        state = history.step(seed, number, state, npk)
        os.write(channel, f"{number}\n".encode())
        number += 1


def kill_forked(path, seed, number, state, reports):
    """Forks a worker and kills it after some reports; returns the last step that had returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            work(path, seed, number, state, writing)
        finally:
            os._exit(3)
    os.close(writing)
    with os.fdopen(reading) as lines:
        last = number - 1
        for _ in range(reports):
            last = int(lines.readline())
        os.kill(child, signal.SIGKILL)
        for line in lines:
            last = int(line)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    return last


def kill_spawned(path, seed, number, state, reports):
    with start_python(WORKER, path, seed, number) as worker:
        last = number - 1
        for _ in range(reports):
            last = int(worker.stdout.readline())
        worker.kill()
        for line in worker.stdout:
            if line.endswith("\n"):
                last = int(line)
    assert worker.returncode == -signal.SIGKILL
    return last


@pytest.mark.parametrize(
    ("kill", "kills"),
    [(kill_forked, 2000 if DEEP else 50), (kill_spawned, 100 if DEEP else 10)],
    ids=["forked", "spawned"],
)
def test_kill_9_in_the_middle_of_anything(path, kill, kills):
    seed, number, state, advanced = 11, 0, {}, 0
    generator = np.random.default_rng(5)
    for turn in range(kills):
        last = kill(path, seed, number, state, int(generator.integers(1, 12)))
        while number <= last:
            state = history.step(seed, number, state)
            number += 1
        next_state = history.step(seed, number, state)
        with NumPack(path) as npk:
            kept, went_on = history.same(npk, state), history.same(npk, next_state)
            assert kept or went_on, f"kill {turn}: neither step {last} nor step {number}"
            if not kept:
                state, number, advanced = next_state, number + 1, advanced + 1
    assert number > kills


APPENDER = """
import sys
import numpy as np
from numpack import NumPack

path, mark, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.stdin.readline()
with NumPack(path) as npk:
    for number in range(count):
        npk.append({"a": np.array([[mark, number]])})
        if number % 50 == 49:
            npk.close()
            npk.open()
"""


def test_two_appenders_lose_nothing(path):
    with NumPack(path) as npk:
        npk.save({"a": np.zeros((0, 2), int)})
    workers = [start_python(APPENDER, path, mark, 200) for mark in (1, 2)]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        finish(worker)
    with NumPack(path) as npk:
        found = npk["a"]
    assert len(found) == 400
    for mark in (1, 2):
        assert found[found[:, 0] == mark, 1].tolist() == list(range(200))


CHANGER = """
import sys
import numpy as np
from numpack import NumPack

with NumPack(sys.argv[1]) as npk:
    exec(sys.argv[2])
"""


def test_what_queries_have_seen_of_a_column_is_forgotten_with_every_change(npk, path):
    npk.save({"id": np.arange(100_000), "x": np.arange(100_000) / 2})
    find = "SELECT row_id FROM self WHERE id < 0"
    least = "SELECT min(id) AS low, max(id) AS high FROM self"

    def rows():
        # The first time sees all blocks, the second time skips them.
        both = [npk.sql(find).to_numpy()["row_id"].tolist() for _ in range(2)]
        assert both[0] == both[1]
        return both[0]

    def ends():
        found = npk.sql(least).to_numpy()
        return [found["low"][0], found["high"][0]]

    assert (rows(), ends()) == ([], [0, 99_999])
    run_python(CHANGER, path, "npk.replace({'id': np.array([-5])}, [70_000])")
    assert (rows(), ends()) == ([70_000], [-5, 99_999])
    run_python(CHANGER, path, "npk.drop(['id', 'x'], [3, 99_999])")
    assert (rows(), ends()) == ([69_999], [-5, 99_998])
    more = "npk.append({'id': np.array([-6, 7]), 'x': np.array([0.0, 0.0])})"
    run_python(CHANGER, path, more)
    assert (rows(), ends()) == ([69_999, 99_998], [-6, 99_998])
    again = "npk.save({'id': np.arange(100_000) - 1, 'x': np.zeros(100_000)})"
    run_python(CHANGER, path, again)
    assert (rows(), ends()) == ([0], [-1, 99_998])


SAVER = """
import sys
import numpy as np
from numpack import NumPack

npk = NumPack(sys.argv[1])
npk.open()
print("open", flush=True)
sys.stdin.readline()
npk.save({sys.argv[2]: np.arange(5)})
print("saved", flush=True)
sys.stdin.readline()
npk.close()
"""


def test_the_last_to_close_takes_nothing_back(path):
    """Overlapping lifetimes: both arrays stay, and each process sees the other's at once."""
    NumPack(path).__enter__().close()
    workers = [start_python(SAVER, path, name) for name in ("one", "two")]
    for worker in workers:
        assert worker.stdout.readline() == "open\n"
    with NumPack(path) as npk:
        for count, worker in enumerate(workers, 1):
            worker.stdin.write("save\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == "saved\n"
            assert npk.get_member_list() == ["one", "two"][:count]
    for worker in workers:
        finish(worker, "close\n")
    with NumPack(path) as npk:
        assert_store(npk, {"one": np.arange(5), "two": np.arange(5)})


READER = """
import sys
import numpy as np
from numpack import NumPack

path, turns = sys.argv[1], int(sys.argv[2])
print("open", flush=True)
seen, turn = set(), 0
with NumPack(path, mode="r") as npk:
    while turn < turns or len(seen) < 20:
        turn += 1
        both = npk.load(["a", "b"])
        a, b = both["a"], both["b"]
        assert len(a) and (a == a.flat[0]).all(), np.unique(a)
        assert (b == a.flat[0]).all(), (a.flat[0], np.unique(b))
        seen.add(int(a.flat[0]))
        lazy = npk.load("a", lazy=True)
        assert np.ptp(lazy[:]) == 0 and np.ptp(npk.getitem("a", [0, -1, 5])) == 0
        view = npk.load("b", copy=False)
        assert np.ptp(view) == 0
print(len(seen))
"""


def test_readers_beside_a_writer_see_no_torn_row(path):
    with NumPack(path) as npk:
        npk.save({"a": np.zeros((3000, 8), int), "b": np.zeros(50, int)})
        readers = [start_python(READER, path, 300) for _ in range(2)]
        for reader in readers:
            assert reader.stdout.readline() == "open\n"
        stamp = 0
        while any(reader.poll() is None for reader in readers):
            stamp += 1
            rows = 3000 if stamp % 3 else 1000 + stamp % 1000
            arrays = {"a": np.full((rows, 8), stamp), "b": np.full(50, stamp)}
            if stamp % 3 == 1 and npk.get_shape("a")[0] == 3000:
                npk.save(arrays)
            else:
                with npk.batch_mode():
                    npk.save(arrays)
        for reader in readers:
            assert int(finish(reader)) >= 20
    assert stamp >= 20


REPLACED = """
import sys
import numpy as np
from numpack import NumPack

print("open", flush=True)
seen, turn = set(), 0
with NumPack(sys.argv[1], mode="r") as npk:
    while turn < 500 or len(seen) < 20:
        turn += 1
        found = npk.load("a")
        assert found.shape == (4000, 8) and np.ptp(found) == 0, np.unique(found)
        seen.add(int(found.flat[0]))
print(len(seen))
"""


def test_a_replace_is_whole_or_not_at_all(path):
    with NumPack(path) as npk:
        npk.save({"a": np.zeros((4000, 8), int)})
        reader = start_python(REPLACED, path)
        assert reader.stdout.readline() == "open\n"
        stamp = 0
        while reader.poll() is None:
            stamp += 1
            npk.replace({"a": np.full((4000, 8), stamp)}, slice(None, None, 1 if stamp % 2 else -1))
        assert int(finish(reader)) >= 20


# Holds the writer lock as another writer would, and says so in the file as a writer does.
HOLDER = """
import fcntl, os, socket, sys, time
lock = open(os.path.join(sys.argv[1], ".npk", "LOCK"), "r+b")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.seek(0)
lock.truncate()
lock.write(f"{os.getpid()} {socket.gethostname()} {int(time.time())}\\n".encode())
lock.flush()
print(os.getpid(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(path):
    """A store whose writer lock another process holds."""
    with NumPack(path) as npk:
        npk.save({"a": np.arange(5)})
    process = start_python(HOLDER, path)
    assert int(process.stdout.readline()) == process.pid
    yield process
    if process.poll() is None:
        finish(process, "go\n")


@pytest.mark.parametrize("lock_timeout", [0, 0.2])
def test_a_busy_store_names_the_holder(path, holder, lock_timeout):
    with NumPack(path, lock_timeout=lock_timeout) as npk:
        assert_store(npk, {"a": np.arange(5)})
        with pytest.raises(numpack.BusyError) as caught:
            npk.append({"a": np.arange(2)})
        assert isinstance(caught.value, TimeoutError)
        assert str(holder.pid) in str(caught.value)
        assert_store(npk, {"a": np.arange(5)})
        finish(holder, "go\n")
        npk.append({"a": np.arange(2)})
        assert_store(npk, {"a": np.array([0, 1, 2, 3, 4, 0, 1])})


WAITER = """
import sys
import numpy as np
from numpack import NumPack

npk = NumPack(sys.argv[1], lock_timeout=600)
npk.open()
print("waiting", flush=True)
try:
    npk.append({"a": np.arange(2)})
except KeyboardInterrupt:
    print("interrupted", npk.get_shape("a"), flush=True)
"""


def blocked(process):
    """Whether a process waits inside a system call or sleeps, as opposed to running."""
    with open(f"/proc/{process.pid}/stat") as status:
        return status.read().rsplit(")", 1)[1].split()[0] in "SD"


def test_ctrl_c_ends_the_wait_for_the_lock(path, holder):
    waiter = start_python(WAITER, path)
    assert waiter.stdout.readline() == "waiting\n"
    while not blocked(waiter):
        pass
    waiter.send_signal(signal.SIGINT)
    assert finish(waiter) == "interrupted (5,)\n"


def in_child(action):
    """Runs `action` in a forked child; its exception text comes back, or None."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
            message = b""
        except BaseException as error:
            message = f"{type(error).__name__}: {error}".encode()
        os.write(writing, message)
        os._exit(0 if not message else 1)
    os.close(writing)
    with os.fdopen(reading) as channel:
        message = channel.read()
    status = os.waitpid(child, 0)[1]
    assert os.WIFEXITED(status), status
    assert message == "" and os.WEXITSTATUS(status) == 0, message


def test_fork_with_an_open_handle_and_live_views(npk, path):
    array = np.arange(8000.0).reshape(2000, 4)
    npk.save({"a": array})
    view, lazy, private = npk.view("a"), npk.load("a", lazy=True), npk.load("a", copy=False)
    before = digest(view)

    def child():
        assert digest(view) == before == digest(lazy) == digest(private)
        npk.append({"a": array[:5]})
        npk.save({"child": np.arange(3)})
        npk.replace({"a": np.zeros((1, 4))}, [0])
        assert npk.get_shape("a") == (2005, 4)
        assert digest(view) == before == digest(lazy)
        assert_same(lazy[[0, -1]], array[[0, -1]])
        npk.close()

    in_child(child)
    expected = np.concatenate([array, array[:5]])
    expected[0] = 0
    assert_store(npk, {"a": expected, "child": np.arange(3)})
    npk.append({"child": np.arange(3)})
    assert digest(view) == before == digest(lazy) == digest(private)
    npk.replace({"a": np.ones((2, 4))}, [1, 2])
    assert digest(view) == before


def test_a_child_that_exits_keeps_the_parents_views(npk):
    array = np.arange(8000.0).reshape(2000, 4)
    npk.save({"a": array})
    view = npk.view("a")
    in_child(lambda: npk.load("a"))
    npk.replace({"a": np.zeros((2000, 4))}, slice(None))
    npk.append({"a": array})
    assert_same(view, array)


def test_fork_inside_a_batch_leaves_the_block_to_the_parent(npk):
    npk.save({"a": np.arange(5)})
    with npk.batch_mode():
        npk.load("a")[0] = 9
        in_child(lambda: None)
    assert_same(npk["a"], np.array([9, 1, 2, 3, 4]))


def test_sql_works_in_a_forked_child(npk):
    npk.save({"a": np.arange(1000)})
    query = "SELECT count(*) AS n, sum(a) AS s FROM self"
    assert npk.sql(query).to_numpy()["s"].tolist() == [499500]

    def child():
        assert npk.sql(query).to_numpy()["n"].tolist() == [1000]

    in_child(child)
    assert npk.sql(query).to_numpy()["n"].tolist() == [1000]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes(path, method):
    code = """
import multiprocessing, sys
import numpy as np
from numpack import NumPack

def total(npk, start):
    with npk:
        return int(npk.getitem("a", slice(start, start + 10)).sum())

if __name__ == "__main__":
    npk = NumPack(sys.argv[1])
    npk.open()
    npk.save({"a": np.arange(100)})
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        found = pool.starmap(total, [(npk, start) for start in range(0, 100, 10)])
    assert sum(found) == 4950, found
    npk.close()
"""
    script = path.parent / "pool.py"
    script.write_text(code)
    run_python("import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], "
               "run_name='__main__')", script, path, method)  # fmt: skip


def test_threads_on_one_handle(npk):
    npk.save({"a": np.zeros((0, 2), int), "stamped": np.zeros((500, 4), int)})
    faults = []
    start = threading.Barrier(6)

    def guarded(action):
        def run():
            try:
                start.wait()
                action()
            except BaseException as error:
                faults.append(error)

        return run

    def append(mark):
        def run():
            for number in range(100):
                npk.append({"a": np.array([[mark, number]])})

        return run

    def write():
        for number in range(200):
            npk.replace({"stamped": np.full((500, 4), number)}, slice(None))

    def read():
        for _ in range(300):
            assert np.ptp(npk.load("stamped")) == 0
            assert np.ptp(npk.load("stamped", lazy=True)[:]) == 0
            found = npk["a"]
            for mark in (1, 2, 3):
                numbers = found[found[:, 0] == mark, 1]
                assert numbers.tolist() == list(range(len(numbers)))

    actions = [append(1), append(2), append(3), write, read, read]
    threads = [threading.Thread(target=guarded(action)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert npk.get_shape("a") == (300, 2)


def test_threads_opening_and_closing_one_directory(path):
    with NumPack(path) as npk:
        npk.save({"a": np.zeros((0,), int)})
    faults = []

    def run(mark):
        try:
            for number in range(25):
                with NumPack(path) as npk:
                    npk.append({"a": np.array([mark * 1000 + number])})
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with NumPack(path) as npk:
        assert sorted(npk["a"]) == sorted(mark * 1000 + k for mark in range(4) for k in range(25))


def test_os_exit_without_close_loses_nothing(path):
    code = (
        "import os, sys, numpy as np\nfrom numpack import NumPack\n"
        "npk = NumPack(sys.argv[1]); npk.open(); npk.save({'a': np.arange(5)})\nos._exit(0)"
    )
    run_python(code, path)
    with NumPack(path) as npk:
        assert_store(npk, {"a": np.arange(5)})


def test_the_error_of_a_child_reaches_the_parent(path):
    """An exception of ours survives the pickling that process pools do."""
    code = """
import concurrent.futures, multiprocessing, sys
from numpack import NumPack, NumPackError

def fail(path):
    with NumPack(path) as npk:
        npk.load("zz")

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            pool.submit(fail, sys.argv[1]).result()
        except KeyError as error:
            assert isinstance(error, NumPackError) and "zz" in str(error)
            print("caught")
"""
    assert run_python(code, path).stdout == "caught\n"


def test_a_child_does_not_keep_what_its_parent_has_given_back(path):
    """An idle map keeps its lock for a moment. A child forked in this moment never uses the map."""
    with NumPack(path) as npk:
        npk.save({"a": np.arange(1000)})
    code = """
import fcntl, os, signal, sys, time
import numpy as np
from numpack import NumPack

def is_free():
    with open(os.path.join(sys.argv[1], "data_a.npkd"), "rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

def wait_until_free():
    end = time.monotonic() + 20
    while not is_free():
        assert time.monotonic() < end
        time.sleep(0.005)

def load():
    for _ in range(50):
        assert npk.load("a", lazy=True).shape == (1000,)

with NumPack(sys.argv[1]) as npk:
    held = 0
    for _ in range(20):
        load()
        held += not is_free()
        child = os.fork()
        if child == 0:
            signal.pause()
        wait_until_free()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert held > 0
    # A child has locks of its own, and a thread that gives them back.
    load()
    child = os.fork()
    if child == 0:
        load()
        wait_until_free()
        assert npk.load("a")[999] == 999
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    load()
    view = npk.view("a")
    assert not is_free() and view[999] == 999
print("done")
"""
    assert run_python(code, path).stdout == "done\n"


EXCLUSIVE = """
import os, sys
from numpack import NumPack, StoreExistsError

# Both go on when the other one is there, too.
mine, theirs = os.pipe(), os.pipe()
child = os.fork() == 0
if child:
    mine, theirs = theirs, mine
made = 0
for turn in range(200):
    os.write(theirs[1], b"!")
    os.read(mine[0], 1)
    try:
        with NumPack(f"{sys.argv[1]}/{turn}", mode="x"):
            made += 1
    except StoreExistsError:
        pass
if child:
    os.write(theirs[1], made.to_bytes(1))
    os._exit(0)
print(made + os.read(mine[0], 1)[0])
"""


def test_one_of_two_makes_a_store(tmp_path):
    result = run_python(EXCLUSIVE, tmp_path)
    assert result.stdout.split() == ["200"]
