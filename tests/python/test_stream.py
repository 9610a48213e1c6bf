"""Batches that are long enough to be read ahead by a thread."""

import contextlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from support import assert_same

ROWS = 50_000
STEP = 4_000


@pytest.fixture(params=[False, True], ids=["whole", "deleted"])
def array(npk, request):
    """A store's array with rows that wait in the journal, with or without deleted ones."""
    array = np.arange(ROWS * 10, dtype=np.float32).reshape(ROWS, 10)
    npk.save({"a": array})
    array[::9] = -1
    npk.replace({"a": array[::9]}, np.arange(0, ROWS, 9))
    if request.param:
        npk.drop("a", np.arange(0, ROWS, 4))
        array = np.delete(array, np.arange(0, ROWS, 4), axis=0)
    return array


def readers():
    count = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it may be gone
            count += (task / "comm").read_text() == "numpack-batches\n"
    return count


def assert_readers(count):
    """A thread has its name, and is gone, a moment later than one would think."""
    end = time.monotonic() + 10
    while readers() != count:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_batches_are_the_array_piece_by_piece(npk, array):
    batches = list(npk.stream_load("a", STEP))
    assert [len(batch) for batch in batches[:-1]] == [STEP] * (len(array) // STEP)
    assert_same(np.concatenate(batches), array)
    for batch in batches:
        assert batch.flags.writeable
        batch[:] = 0
    assert_same(npk.load("a"), array)


def test_a_stream_shows_what_was_there_when_it_was_begun(npk, array):
    stream = npk.stream_load("a", STEP)
    found = [next(stream), next(stream)]
    npk.replace({"a": np.zeros_like(array)}, slice(None))
    found.append(next(stream))
    npk.drop("a", slice(0, 100))
    npk.update("a")
    npk.close()
    found += stream
    assert_same(np.concatenate(found), array)
    assert list(stream) == []
    npk.open()


def test_the_thread_comes_with_the_second_batch_and_goes_with_the_stream(npk, array):
    stream = npk.stream_load("a", STEP)
    next(stream)
    assert readers() == 0
    next(stream)
    assert_readers(1)
    del stream
    assert_readers(0)
    # Not for batches that are copied sooner than a thread is woken.
    stream = npk.stream_load("a", 100)
    assert len([next(stream), next(stream), next(stream)]) == 3
    assert readers() == 0


def test_a_forked_child_goes_on_with_the_stream(npk, array):
    stream = npk.stream_load("a", STEP)
    found = [next(stream), next(stream)]
    child = os.fork()
    if child == 0:
        same = np.array_equal(np.concatenate([*found, *stream]), array)
        os._exit(0 if same and readers() == 0 else 1)
    try:
        assert_same(np.concatenate([*found, *stream]), array)
    finally:
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
