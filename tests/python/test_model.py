"""A state machine over all operations against a dict of NumPy arrays.

Two handles change and read one store. Views, lazy arrays and loads taken on the way are kept, and
must show what they showed when they were taken, whatever happens afterwards.
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpack import ConflictError, NotContiguousError, NumPack
from strategies import arrays, dtypes, layouts, seeds, selections
from support import assert_same, digest, replaced, rows_of, sample

NAMES = ["a", "b", "ü/x", ""]
HELD = 10
names = st.sampled_from(NAMES)
handles = st.sampled_from([0, 1])
DEEP = bool(os.environ.get("NUMPACK_DEEP"))


class StopError(Exception):
    """Leaves a block from the middle."""


def raises(call, *errors):
    try:
        call()
    except errors:
        return
    raise AssertionError(f"expected one of {errors}")


class Operations:
    """Each method draws one operation, does it to a store, and returns the new model."""

    def save(self, npk, model, data):
        chosen = data.draw(st.lists(names, min_size=1, max_size=2, unique=True))
        new = {name: data.draw(arrays(large=True)) for name in chosen}
        npk.save({name: data.draw(layouts(array)) for name, array in new.items()})
        return {**model, **new}

    def set_item(self, npk, model, data):
        name, array = data.draw(names), data.draw(arrays(large=True))
        npk[name] = array
        return {**model, name: array}

    def append(self, npk, model, data):
        name = data.draw(names)
        if name not in model:
            raises(lambda: npk.append({name: np.zeros(1)}), KeyError)
            return model
        array = model[name]
        if array.ndim == 0:
            raises(lambda: npk.append({name: array}), ValueError, IndexError)
            return model
        count, seed = data.draw(st.integers(0, 70)), data.draw(seeds)
        more = sample(array.dtype, (count, *array.shape[1:]), seed)
        npk.append({name: data.draw(layouts(more))})
        return {**model, name: np.concatenate([array, more])}

    def replace(self, npk, model, data):
        return self.write_rows(npk, model, data, lambda name, i, new: npk.replace({name: new}, i))

    def set_rows(self, npk, model, data):
        return self.write_rows(
            npk, model, data, lambda name, i, new: npk.__setitem__((name, i), new)
        )

    def write_rows(self, npk, model, data, write):
        name = data.draw(names)
        if name not in model:
            raises(lambda: write(name, [0], np.zeros(1)), KeyError)
            return model
        array = model[name]
        if array.ndim == 0:
            raises(lambda: npk.getitem(name, [0]), ValueError, IndexError)
            return model
        index = data.draw(selections(len(array)))
        rows = rows_of(len(array), index)
        new = sample(array.dtype, (len(rows), *array.shape[1:]), data.draw(seeds))
        write(name, index, data.draw(layouts(new)))
        return {**model, name: replaced(array, rows, new)}

    def drop_rows(self, npk, model, data):
        name = data.draw(names)
        if name not in model or model[name].ndim == 0:
            return model
        index = data.draw(selections(len(model[name])))
        rows = rows_of(len(model[name]), index)
        npk.drop(name, index)
        model = {**model, name: np.delete(model[name], rows, axis=0)}
        if len(rows) and not len(model[name]):
            del model[name]
        return model

    def drop(self, npk, model, data):
        gone = data.draw(st.lists(names, min_size=1, max_size=2))
        npk.drop(gone if len(gone) > 1 else gone[0])
        return {name: array for name, array in model.items() if name not in gone}

    def update(self, npk, model, data):
        name = data.draw(names)
        if name in model:
            npk.update(name)
        else:
            raises(lambda: npk.update(name), KeyError)
        return model

    def rename(self, npk, model, data):
        return self.transfer(npk, model, data, "rename")

    def clone(self, npk, model, data):
        return self.transfer(npk, model, data, "clone")

    def transfer(self, npk, model, data, verb):
        source, target = data.draw(st.permutations(NAMES))[:2]
        call = getattr(npk, verb)
        if source not in model:
            raises(lambda: call(source, target), KeyError)
            return model
        if target in model:
            raises(lambda: call(source, target), ValueError)
            return model
        call(source, target)
        model = {**model, target: model[source]}
        if verb == "rename":
            del model[source]
        return model

    def create(self, npk, model, data):
        name = data.draw(names)
        if name in model:
            return model
        dtype, like = data.draw(dtypes), data.draw(arrays(dtype=np.dtype("u1")))
        fill = data.draw(st.integers(0, 1))
        npk.create(name, like.shape, dtype, fill)
        return {**model, name: np.full(like.shape, fill, dtype)}

    def reset(self, npk, model, data):
        npk.reset()
        return {}

    def fail(self, npk, model, data):
        """Calls that must be refused and leave everything as it is."""
        name = data.draw(names)
        raises(lambda: npk.save({name: np.zeros(2), "bad": np.array(["x"])}), TypeError)
        raises(lambda: npk.load("missing"), KeyError)
        if name in model and model[name].ndim:
            rows, row = len(model[name]), model[name].shape[1:]
            one = np.zeros((1, *row), model[name].dtype)
            raises(lambda: npk.replace({name: one}, [rows]), IndexError)
            raises(lambda: npk.replace({name: one}, []), ValueError)
            raises(lambda: npk.drop(name, [-rows - 1]), IndexError)
            raises(lambda: npk.append({name: one[..., None]}), ValueError)
            other = "f4" if model[name].dtype != "f4" else "i4"
            raises(lambda: npk.append({name: np.zeros(one.shape, other)}), TypeError)
        return model

    ALL = (
        "save",
        "save",
        "set_item",
        "append",
        "append",
        "replace",
        "replace",
        "set_rows",
        "drop_rows",
        "drop_rows",
        "drop",
        "update",
        "rename",
        "clone",
        "create",
        "fail",
    )


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.folder = tempfile.mkdtemp(prefix="numpack-model-")
        self.path = Path(self.folder) / "store.npk"
        self.handles = [NumPack(self.path), NumPack(self.path)]
        for npk in self.handles:
            npk.open()
        self.operations = Operations()
        self.model = {}
        self.held = []
        self.steps = 0

    def teardown(self):
        if not hasattr(self, "folder"):
            return
        try:
            for npk in self.handles:
                npk.close()
            with NumPack(self.path, mode="r") as npk:
                self.check(npk, self.model)
            for view, expected, what in self.held:
                assert digest(view) == expected, what
        finally:
            shutil.rmtree(self.folder)

    def check(self, npk, model):
        found = npk.get_member_list()
        assert sorted(found) == sorted(model), (found, list(model))
        for name, array in model.items():
            assert npk.get_shape(name) == array.shape, name
            assert_same(npk.load(name), array, name)

    @rule(
        data=st.data(),
        which=handles,
        kinds=st.lists(st.sampled_from(Operations.ALL), min_size=1, max_size=5),
    )
    def change(self, data, which, kinds):
        """Some operations, and no look in between."""
        for kind in kinds:
            self.one_change(data, which, kind)

    def one_change(self, data, which, kind):
        before = list(self.model)
        self.model = getattr(self.operations, kind)(self.handles[which], self.model, data)
        # New names come last; a renamed one keeps whatever place the store gives it.
        if kind != "rename" and list(self.model)[: len(before)] == before:
            listed = self.handles[which].get_member_list()
            kept = [name for name in listed if name in before]
            assert listed[: len(kept)] == kept
            self.model = {name: self.model[name] for name in listed}

    @rule(which=handles)
    def reset(self, which):
        if self.steps % 5 == 0:
            self.model = self.operations.reset(self.handles[which], self.model, None)

    @rule(data=st.data(), which=handles)
    def hold(self, data, which):
        """Keeps a view of an array by one of the doors."""
        if not self.model:
            return
        name = data.draw(st.sampled_from(sorted(self.model)))
        npk, array = self.handles[which], self.model[name]
        door = data.draw(st.sampled_from(["view", "private", "lazy", "load", "asarray", "part"]))
        try:
            if door == "view":
                view = npk.view(name)
            elif door == "private":
                view = npk.load(name, copy=False)
            elif door == "load":
                view = npk.load(name)
            else:
                view = npk.load(name, lazy=True)
        except NotContiguousError:
            # Only deleted rows stand in the way of a view.
            assert npk.get_metadata()["arrays"][name]["deleted"]
            return
        if door == "asarray":
            view = np.asarray(view)
        if door == "part" and array.ndim:
            index = data.draw(selections(len(array)))
            if isinstance(index, (tuple, range)):
                index = list(index)
            view, array = view[index], array[index]
        assert_same(view, array, door)
        self.held.append((view, digest(array), (door, name)))
        del self.held[:-HELD]

    @rule(data=st.data(), which=handles)
    def read(self, data, which):
        """One array by the doors that copy."""
        if not self.model:
            return
        name = data.draw(st.sampled_from(sorted(self.model)))
        npk, array = self.handles[which], self.model[name]
        assert_same(npk.load(name, lazy=True), array)
        if array.ndim:
            index = data.draw(selections(len(array)))
            assert_same(npk.getitem(name, index), array[rows_of(len(array), index)])
            batches = list(npk.stream_load(name, data.draw(st.integers(1, 80))))
            if len(array):
                assert_same(np.concatenate(batches), array)
            else:
                assert batches == []

    @rule(which=handles)
    def reopen(self, which):
        self.handles[which].close()
        self.handles[which].open()

    @rule()
    def reopen_both(self):
        for npk in self.handles:
            npk.close()
        for npk in self.handles:
            npk.open()

    @rule(which=handles)
    def sync(self, which):
        self.handles[which].sync()

    @rule(
        data=st.data(),
        which=handles,
        limit=st.sampled_from([None, 1]),
        rollback=st.booleans(),
        stop=st.booleans(),
        nested=st.booleans(),
    )
    def batch(self, data, which, limit, rollback, stop, nested):
        """A block of calls and edits in place, which the other handle sees at its end or never."""
        npk, other = self.handles[which], self.handles[1 - which]
        model = dict(self.model)
        try:
            with npk.batch_mode(limit, rollback=rollback):
                for _ in range(data.draw(st.integers(1, 4))):
                    if nested:
                        with npk.batch_mode():
                            model = self.inside(npk, model, data)
                    else:
                        model = self.inside(npk, model, data)
                    self.check(npk, model)
                self.check(other, self.model)
                if stop:
                    raise StopError
        except StopError:
            assert stop
            if rollback:
                return
        self.model = model

    def inside(self, npk, model, data):
        kind = data.draw(st.sampled_from((*Operations.ALL, "edit", "edit")))
        if kind != "edit":
            return getattr(self.operations, kind)(npk, model, data)
        if not model:
            return model
        name = data.draw(st.sampled_from(sorted(model)))
        new = sample(model[name].dtype, model[name].shape, data.draw(seeds))
        npk.load(name)[...] = new
        # Assigning a signalling NaN may quieten it, so what the array holds now counts.
        return {**model, name: npk.load(name).copy()}

    @rule(data=st.data(), which=handles)
    def writable(self, data, which):
        if not self.model:
            return
        name = data.draw(st.sampled_from(sorted(self.model)))
        with self.handles[which].writable_batch_mode() as batch:
            array = batch.load(name)
            assert_same(array, self.model[name])
            if array.ndim:
                index = data.draw(selections(len(array)))
                rows = rows_of(len(array), index)
                shape = (len(rows), *array.shape[1:])
                array[rows] = sample(array.dtype, shape, data.draw(seeds))
            else:
                array[...] = sample(array.dtype, (), data.draw(seeds))
            after = array.copy()
            self.check(self.handles[1 - which], self.model)
        self.model = {**self.model, name: after}
        array[...] = 0

    @rule(data=st.data(), which=handles)
    def conflict(self, data, which):
        """Both handles change one array: the block that comes second is refused as a whole."""
        rowed = sorted(name for name, array in self.model.items() if array.ndim and array.nbytes)
        if not rowed:
            return
        name = data.draw(st.sampled_from(rowed))
        npk, other = self.handles[which], self.handles[1 - which]
        array = self.model[name]
        try:
            with npk.batch_mode():
                npk.append({name: array[:1]})
                other.append({name: array[-1:]})
        except ConflictError:
            self.model = {**self.model, name: np.concatenate([array, array[-1:]])}
            return
        raise AssertionError("no conflict")

    @invariant()
    def both_handles_show_the_model(self):
        if not hasattr(self, "model"):
            return
        self.steps += 1
        for npk in self.handles:
            self.check(npk, self.model)
        for view, expected, what in self.held:
            assert digest(view) == expected, what


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=4000 if DEEP else 400, stateful_step_count=60 if DEEP else 30
)
