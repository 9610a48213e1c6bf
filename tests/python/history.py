"""A fixed history of operations: step k is the same in every process, which judges a killed one."""

import numpy as np
from support import replaced

NAMES = ["a", "b", "ü long name/with slash", "copy"]


def rows(generator, count, width):
    return generator.integers(0, 2**31, (count, width), dtype=np.int64)


def step(seed, number, state, npk=None):
    """Applies step `number` to `state` and, where given, to the store; returns the new state.

    Every step is one commit, so that a killed process leaves it whole or not at all.
    """
    generator = np.random.default_rng((seed, number))
    state = dict(state)
    name = NAMES[generator.integers(len(NAMES))]
    kind = generator.choice(
        ["save", "big save", "append", "big append", "replace", "scatter", "drop rows", "drop",
         "update", "rename", "clone", "batch", "writable", "several", "reopen", "reset"],
        p=[0.1, 0.06, 0.1, 0.06, 0.1, 0.1, 0.1, 0.04,
           0.06, 0.04, 0.04, 0.05, 0.05, 0.05, 0.04, 0.01],
    )  # fmt: skip
    width = 4
    array = state.get(name)
    if kind == "reopen":
        if npk is not None:
            npk.close()
            npk.open()
        return state
    if kind == "reset":
        if npk is not None:
            npk.reset()
        return {}
    if array is None or kind in ("save", "big save"):
        count = 40_000 if kind == "big save" else int(generator.integers(1, 90))
        new = rows(generator, count, width)
        if npk is not None:
            npk.save({name: new})
        return {**state, name: new}
    if kind in ("append", "big append"):
        count = 20_000 if kind == "big append" else int(generator.integers(1, 70))
        new = rows(generator, count, width)
        if npk is not None:
            npk.append({name: new})
        return {**state, name: np.concatenate([array, new])}
    if kind in ("replace", "scatter"):
        count = min(len(array), 50)
        start = int(generator.integers(len(array) - count + 1))
        picks = np.arange(start, start + count)
        if kind == "scatter":
            picks = generator.integers(-len(array), len(array), count)
        new = rows(generator, count, width)
        if npk is not None:
            npk.replace({name: new}, picks)
        return {**state, name: replaced(array, picks, new)}
    if kind == "drop rows":
        picks = generator.integers(0, len(array), max(1, len(array) // 10))
        if npk is not None:
            npk.drop(name, picks)
        left = np.delete(array, picks, axis=0)
        if len(left):
            return {**state, name: left}
        del state[name]
        return state
    if kind == "drop":
        if npk is not None:
            npk.drop(name)
        del state[name]
        return state
    if kind == "update" or (kind in ("rename", "clone") and "copy" in state):
        if npk is not None:
            npk.update(name)
        return state
    if kind in ("rename", "clone"):
        if npk is not None:
            getattr(npk, kind)(name, "copy")
        if kind == "rename":
            del state[name]
        return {**state, "copy": array}
    if kind == "several":
        new = {key: rows(generator, 30, width) for key in NAMES}
        if npk is not None:
            npk.save(new)
        return {**state, **new}
    changed = array.copy()
    changed[:: max(1, len(array) // 20)] += 1
    if npk is not None:
        if kind == "batch":
            with npk.batch_mode():
                npk.load(name)[...] = changed
        else:
            with npk.writable_batch_mode() as batch:
                batch.load(name)[...] = changed
    return {**state, name: changed}


def same(npk, state):
    """Whether the store holds exactly `state`."""
    if sorted(npk.get_member_list()) != sorted(state):
        return False
    return all(
        npk.get_shape(name) == array.shape and np.array_equal(npk.load(name), array)
        for name, array in state.items()
    )
