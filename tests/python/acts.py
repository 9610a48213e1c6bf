"""Changes of a store as values: drawn once, done to a model and by any handle of any process.

A model is a dict of NumPy arrays, none of which is ever changed in place. Sizes lie around those at
which the store goes another way: nothing, one row, a page, a block, what is written at once, more.
"""

import contextlib

import numpy as np
from support import sample

NAMES = ("a", "b", "c", "ü/d")
ROWS = (
    ("u1", ()),
    ("?", (3,)),
    ("u2", (3,)),
    ("f4", (10,)),
    ("i8", ()),
    ("c16", ()),
    ("f4", (128,)),
    ("u1", (4096,)),
    ("u1", (70_000,)),
    ("f4", (1 << 18,)),
    ("f4", (0,)),
)
SIZES = {0: 3, 100: 8, 1 << 12: 14, 20_000: 8, 1 << 16: 26, 300_000: 8, 1 << 20: 20, 5 << 20: 2}
LARGEST = 24 << 20
KINDS = {
    "save": 8,
    "save over": 10,
    "create": 3,
    "append": 10,
    "replace": 22,
    "drop rows": 8,
    "drop": 5,
    "rename": 10,
    "clone": 5,
    "update": 4,
    "batch": 9,
    "writable": 4,
    "checkpoint": 3,
    "sync": 1,
}
ALONE = ("batch", "writable", "checkpoint", "sync")


class DiscardedError(Exception):
    """Leaves a block that is rolled back."""


def choose(generator, weights):
    """One of the keys, each as often as its weight says."""
    names = list(weights)
    shares = np.array([weights[name] for name in names], float)
    return names[generator.choice(len(names), p=shares / shares.sum())]


def draw(generator, state, names=NAMES, nested=False):
    """A change that `state` allows, of no other arrays than `names`."""
    while True:
        kind = choose(generator, KINDS)
        if nested and kind in ALONE:
            kind = "edit"
        act = draw_one(generator, state, names, kind)
        if act is not None:
            return act


def draw_one(generator, state, names, kind):
    """A change of one kind, as (kind, what it needs), or None where there is nothing to do."""
    here = [name for name in names if name in state]
    absent = [name for name in names if name not in state]
    seed = int(generator.integers(2**32))
    if kind in ("checkpoint", "sync"):
        return kind, ()
    if kind == "save":
        count = int(generator.integers(1, len(names) + 1)) if generator.random() < 0.3 else 1
        chosen = generator.permutation(names)[:count]
        return "save", {str(name): draw_array(generator) for name in chosen}
    if kind == "create":
        if not absent:
            return None
        dtype, shape, _ = draw_array(generator)
        return kind, (str(generator.choice(absent)), shape, dtype, int(generator.integers(2)))
    if kind == "batch":
        return draw_batch(generator, state, names)
    if not here:
        return None
    name = str(generator.choice(here))
    array = state[name]
    if kind == "save over":
        return "save", {name: (array.dtype.str, array.shape, seed)}
    if kind == "append":
        shape = (row_count(generator, array), *array.shape[1:])
        fits = array.nbytes + shape[0] * row_bytes(array) <= LARGEST
        return (kind, {name: (array.dtype.str, shape, seed)}) if fits else None
    if kind in ("replace", "edit", "drop rows"):
        return (kind, draw_edit(generator, name, array)) if len(array) else None
    if kind == "writable":
        edited = dict.fromkeys((name, here[0]))
        return kind, [draw_edit(generator, one, state[one]) for one in edited]
    if kind == "drop":
        return kind, [str(one) for one in generator.choice(names, int(generator.integers(1, 3)))]
    if kind == "update":
        return kind, name
    return (kind, (name, str(generator.choice(absent)))) if absent else None


def draw_batch(generator, state, names):
    """Changes and edits in one block, which is now and then given up."""
    acts = []
    for _ in range(int(generator.integers(1, 6))):
        acts.append(draw(generator, state, names, nested=True))
        state = foresee(acts[-1], state)
    limit = [None, 1, 100_000][generator.integers(3)]
    return "batch", (acts, limit, bool(generator.random() < 0.2))


def draw_array(generator):
    dtype, tail = ROWS[generator.integers(len(ROWS))]
    one = np.zeros((1, *tail), dtype)
    return dtype, (row_count(generator, one), *tail), int(generator.integers(2**32))


def draw_edit(generator, name, array):
    """Some rows of an array, and what to write there: a name, row numbers, what sample() takes."""
    rows = draw_rows(generator, len(array))
    new = array.dtype.str, (len(rows), *array.shape[1:]), int(generator.integers(2**32))
    return name, rows, new


def row_bytes(array):
    return array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))


def row_count(generator, array):
    """How many rows like those of `array` make about one of the sizes, give or take one."""
    size = choose(generator, SIZES)
    if size > 2 << 20:
        size *= int(generator.integers(1, 5))
    width = row_bytes(array)
    count = size // width if width else int(generator.integers(9))
    return max(0, count + int(generator.integers(-1, 2)))


def draw_rows(generator, count):
    """Rows of `count`, as their numbers: some of them from behind, some of them twice."""
    if count == 0:
        return np.arange(0)
    kind = generator.choice(["few", "run", "run", "tail", "many", "all", "every"])
    if kind == "few":
        return generator.integers(-count, count, int(generator.integers(1, 40)))
    if kind in ("run", "tail"):
        length = int(min(count, generator.choice([1, 2, 30, 3000, 50_000])))
        start = count - length if kind == "tail" else int(generator.integers(count - length + 1))
        return np.arange(start, start + length)
    if kind == "many":
        return np.flatnonzero(generator.random(count) < generator.choice([0.01, 0.3, 0.9]))
    return np.arange(count) if kind == "all" else np.arange(0, count, 2)


def foresee(act, state):
    """The model after a change."""
    kind, what = act
    if kind in ("checkpoint", "sync", "update"):
        return state
    if kind == "save":
        return {**state, **{name: sample(*of) for name, of in what.items()}}
    if kind == "create":
        name, shape, dtype, fill = what
        return {**state, name: np.full(shape, fill, dtype)}
    if kind == "append":
        more = {name: np.concatenate([state[name], sample(*of)]) for name, of in what.items()}
        return {**state, **more}
    if kind in ("replace", "edit"):
        return {**state, what[0]: rewritten(state[what[0]], *what[1:])}
    if kind == "drop rows":
        name, rows, _ = what
        left = np.delete(state[name], rows, axis=0)
        if len(left) or not len(rows):
            return {**state, name: left}
        return {other: array for other, array in state.items() if other != name}
    if kind == "drop":
        return {name: array for name, array in state.items() if name not in what}
    if kind == "rename":
        return {what[1] if name == what[0] else name: array for name, array in state.items()}
    if kind == "clone":
        return {**state, what[1]: state[what[0]]}
    if kind == "writable":
        return {**state, **{name: rewritten(state[name], rows, new) for name, rows, new in what}}
    assert kind == "batch", kind
    acts, _, discarded = what
    after = state
    for one in acts:
        after = foresee(one, after)
    return state if discarded else after


def rewritten(array, rows, new):
    """A copy with some rows replaced; of a row that is there twice, the last one counts."""
    array = array.copy()
    array[rows] = sample(*new)
    return array


def perform(act, npk):
    """Does a change through a handle."""
    kind, what = act
    if kind == "checkpoint":
        npk.checkpoint()
    elif kind == "sync":
        npk.sync()
    elif kind in ("save", "append"):
        getattr(npk, kind)({name: sample(*of) for name, of in what.items()})
    elif kind == "create":
        npk.create(*what)
    elif kind == "replace":
        name, rows, new = what
        npk.replace({name: sample(*new)}, rows)
    elif kind == "edit":
        name, rows, new = what
        npk.load(name)[rows] = sample(*new)
    elif kind == "drop rows":
        npk.drop(what[0], what[1])
    elif kind in ("drop", "update"):
        getattr(npk, kind)(what)
    elif kind in ("rename", "clone"):
        getattr(npk, kind)(*what)
    elif kind == "writable":
        with npk.writable_batch_mode() as block:
            for name, rows, new in what:
                block.load(name)[rows] = sample(*new)
    else:
        acts, limit, discarded = what
        with (
            contextlib.suppress(DiscardedError),
            npk.batch_mode(limit, rollback=discarded),
        ):
            for one in acts:
                perform(one, npk)
            if discarded:
                raise DiscardedError


def describe(act):
    """A change in short, for the story of a failure."""
    kind, what = act
    if kind == "batch":
        return f"batch{what[1:]}[{', '.join(describe(one) for one in what[0])}]"
    return f"{kind} {what}".replace("\n", "")
