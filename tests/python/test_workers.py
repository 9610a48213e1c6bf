"""Worker processes by every start method, and writers that die with the lock in their hands."""

import os
import signal

import numpy as np
import pytest
import workers
from numpack import BusyError, NumPack
from support import assert_same, run_python, start_python

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_loader_with_workers(path, method):
    code = (
        "import sys, warnings, workers\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "if __name__ == '__main__': workers.load_all(*sys.argv[1:])"
    )
    assert run_python(code, method, path, timeout=120).stdout == "3\n"


@pytest.fixture
def big(path):
    with NumPack(path) as npk:
        npk.save({"big": np.zeros(workers.BIG, int), "small": np.arange(5)})
    return path


def stopped_with_lock(path, pid):
    """Stops a process at a moment at which it holds the writer lock."""
    while True:
        while pid not in workers.lock_holders(path):
            pass
        os.kill(pid, signal.SIGSTOP)
        while state(pid) != "T":
            pass
        if pid in workers.lock_holders(path):
            return
        os.kill(pid, signal.SIGCONT)


def state(pid):
    with open(f"/proc/{pid}/stat") as status:
        return status.read().rsplit(")", 1)[1].split()[0]


def alive(pid):
    return os.path.exists(f"/proc/{pid}") and state(pid) != "Z"


def check_writable(path):
    """Everything works at once, though nobody has cleaned up."""
    with NumPack(path, lock_timeout=10) as npk:
        found = npk["big"]
        assert found.shape == (workers.BIG,) and np.ptp(found) == 0
        npk.append({"small": np.arange(3)})
        npk.replace({"big": np.full(2, -1)}, [0, -1])
        assert_same(npk["small"], np.array([0, 1, 2, 3, 4, 0, 1, 2]))
    with NumPack(path) as npk:
        assert npk["big"][[0, 1, -1]].tolist() == [-1, found[1], -1]


CODE = "import sys, workers\nworkers.{}(sys.argv[1])"


def test_a_killed_holder_of_the_lock_needs_no_clean_up(big):
    with start_python(CODE.format("write_for_ever"), big) as writer:
        stopped_with_lock(big, writer.pid)
        with NumPack(big, lock_timeout=0) as npk:
            with pytest.raises(BusyError, match=str(writer.pid)):
                npk.append({"small": np.arange(3)})
            assert np.ptp(npk["big"]) == 0  # readers do not wait
        writer.kill()
        writer.wait()
    check_writable(big)


def test_children_of_a_killed_writer_do_not_keep_its_lock(big):
    """They were forked while it was held, and would share it if they had its descriptor."""
    with start_python(CODE.format("fork_while_writing"), big) as writer:
        children = [int(pid) for pid in writer.stdout.readline().split()]
        assert len(children) == 4
        stopped_with_lock(big, writer.pid)
        writer.kill()
        writer.wait()
        assert all(alive(child) for child in children)
        check_writable(big)
        assert all(alive(child) for child in children)


def test_a_lock_that_children_share_would_be_seen(big):
    with start_python(CODE.format("lock_by_hand_and_fork"), big) as writer:
        child = int(writer.stdout.readline())
        writer.kill()
        writer.wait()
        assert alive(child)
        with NumPack(big, lock_timeout=0) as npk, pytest.raises(BusyError):
            npk.append({"small": np.arange(3)})
        os.kill(child, signal.SIGKILL)
        while alive(child):
            pass
    check_writable(big)
