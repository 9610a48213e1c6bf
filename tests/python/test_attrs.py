"""Attributes of stores and arrays."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpack import ArgumentError, ArrayNotFoundError, Attributes, NumPack, ReadOnlyError
from support import finish, start_python

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    10**30,
    1.5,
    -0.0,
    1e300,
    "",
    'é\n"\\\x00',
    [],
    [1, [2]],
    {},
    {"a": {"b": [None]}},
]

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(params=["store", "array"])
def attrs(npk, request):
    npk.save({"a": np.arange(3)})
    return npk.attrs if request.param == "store" else npk.array_attrs("a")


class TestManners:
    def test_of_a_dict(self, attrs):
        assert isinstance(attrs, Attributes)
        assert len(attrs) == 0 and dict(attrs) == {} and "x" not in attrs
        attrs["x"] = 1
        attrs["y"] = [1, 2]
        assert (attrs["x"], attrs["y"], len(attrs), list(attrs)) == (1, [1, 2], 2, ["x", "y"])
        assert repr(attrs) == "Attributes({'x': 1, 'y': [1, 2]})"
        attrs.update({"x": 2}, z=None)
        assert attrs == {"x": 2, "y": [1, 2], "z": None}
        assert attrs.asdict() == dict(attrs.items())
        assert attrs.get("q", 7) == 7 and attrs.setdefault("x", 9) == 2
        assert attrs.setdefault("q", [3]) == [3] and attrs["q"] == [3]
        assert attrs.pop("q") == [3] and attrs.pop("q", 4) == 4
        assert attrs.popitem() == ("z", None)
        del attrs["x"]
        for missing in (lambda: attrs["x"], lambda: attrs.pop("x"), lambda: attrs.__delitem__("x")):
            with pytest.raises(KeyError):
                missing()
        attrs.clear()
        assert attrs == {} and not attrs
        with pytest.raises(KeyError):
            attrs.popitem()

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_values_come_back(self, attrs, value):
        attrs["key"] = value
        found = attrs["key"]
        assert found == value and type(found) is type(value)
        assert json.dumps(found) == json.dumps(value)

    def test_what_is_read_is_a_copy(self, attrs):
        given = [1]
        attrs["key"] = given
        given.append(2)
        attrs["key"].append(3)
        assert attrs["key"] == [1]
        attrs["tuple"] = (1, (2,))
        assert attrs["tuple"] == [1, [2]]

    @pytest.mark.parametrize(
        ("value", "named"),
        [
            ({1, 2}, "set"),
            (b"x", "bytes"),
            (np.int64(3), "int64"),
            (np.arange(3), "ndarray"),
            (1j, "complex"),
            (float("nan"), "nan"),
            (float("-inf"), "-inf"),
            ({1: 2}, "key of type int"),
            ([{"a": object()}], "object"),
            ("\ud800", "lone surrogate"),
        ],
        ids=repr,
    )
    def test_what_json_does_not_have(self, attrs, value, named):
        attrs["good"] = 1
        with pytest.raises(TypeError, match=f"'key' holds.*{named}"):
            attrs["key"] = value
        with pytest.raises(TypeError, match=named):
            attrs.update(other=2, key=value)
        with pytest.raises(TypeError, match="key of an attribute is a str, not int"):
            attrs[3] = 1
        assert attrs == {"good": 1}

    def test_too_long(self, npk, attrs):
        attrs["key"] = "x" * 1_000_000
        for door in (npk, npk.batch_mode()):
            with door, pytest.raises(ArgumentError, match="bytes of JSON, at most 1048576"):
                attrs["more"] = "x" * 50_000
            npk.open()
        assert list(attrs) == ["key"]


@given(st.dictionaries(text, values, max_size=5))
def test_any_json_comes_back(tmp_path_factory, attrs):
    with NumPack(tmp_path_factory.mktemp("attrs") / "s.npk") as npk:
        npk.attrs = attrs
        assert npk.attrs.asdict() == attrs
        npk.close()
        npk.open()
        assert npk.attrs.asdict() == attrs
        assert json.dumps(npk.attrs.asdict()) == json.dumps(attrs)


class TestLife:
    def test_attributes_follow_their_array(self, path):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(3), "b": np.arange(2)})
            a = npk.array_attrs("a")
            a["unit"] = "m"
            npk.save({"a": np.zeros((4, 2))})
            npk.append({"a": np.ones((1, 2))})
            npk.replace({"a": np.ones((1, 2))}, [0])
            npk.drop("a", [0])
            npk.update("a")
            assert a == {"unit": "m"}
            npk.clone("a", "copy")
            npk.rename("a", "new")
            with pytest.raises(ArrayNotFoundError, match='"a"'):
                dict(a)
            npk.drop("copy")
            npk.save({"copy": np.arange(2)})
        with NumPack(path, mode="r") as npk:
            assert npk.array_attrs("new") == {"unit": "m"}
            assert npk.array_attrs("copy") == {} == npk.array_attrs("b") == npk.attrs
            for change in (
                lambda: npk.attrs.update(x=1),
                npk.array_attrs("new").clear,
                lambda: npk.array_attrs("new").pop("unit"),
            ):
                with pytest.raises(ReadOnlyError):
                    change()

    def test_errors(self, npk):
        with pytest.raises(ArrayNotFoundError, match="x"):
            npk.array_attrs("x")
        with pytest.raises(TypeError, match="a str, not int"):
            npk.array_attrs(3)
        npk.attrs = {"a": 1}
        with pytest.raises(TypeError):
            npk.attrs = {"a": {1}}
        assert npk.attrs == {"a": 1}

    def test_two_processes_lose_no_key(self, path):
        code = """
import sys
from numpack import NumPack
with NumPack(sys.argv[1]) as npk:
    print("open", flush=True)
    sys.stdin.readline()
    for i in range(100):
        npk.attrs[f"{sys.argv[2]}{i}"] = i
"""
        NumPack(path).__enter__().close()
        workers = [start_python(code, path, mark) for mark in "ab"]
        for worker in workers:
            assert worker.stdout.readline() == "open\n"
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            finish(worker)
        with NumPack(path) as npk:
            assert npk.attrs == {f"{mark}{i}": i for mark in "ab" for i in range(100)}

    def test_older_releases_ignore_and_drop_them(self, path, python_042):
        with NumPack(path) as npk:
            npk.save({"a": np.arange(5)})
            npk.attrs["x"] = 1
            npk.array_attrs("a")["unit"] = "m"
        code = """
import sys
import numpy as np
import numpack
npk = numpack.NumPack(sys.argv[1])
npk.open()
print(npk.load("a").tolist())
if len(sys.argv) > 2:
    npk.append({"a": np.array([5])})
npk.close()
"""
        assert finish(start_python(code, path, interpreter=python_042)) == "[0, 1, 2, 3, 4]\n"
        finish(start_python(code, path, "write", interpreter=python_042))
        with NumPack(path) as npk:
            assert npk.load("a").tolist() == [0, 1, 2, 3, 4, 5]
            assert npk.attrs == {} == npk.array_attrs("a")


class TestBatch:
    def test_a_block_commits_them_with_the_rest(self, path):
        with NumPack(path) as npk, NumPack(path) as other:
            npk.save({"a": np.arange(3), "b": np.arange(2), "c": np.arange(4)})
            npk.array_attrs("a").update(unit="m", old=1)
            npk.array_attrs("b")["of"] = "b"
            with npk.batch_mode():
                npk.attrs["model"] = "x"
                npk.array_attrs("a")["unit"] = "km"
                del npk.array_attrs("a")["old"]
                npk.load("a")[0] = 9
                npk.rename("a", "new")
                npk.array_attrs("new")["more"] = [1]
                npk.clone("new", "copy")
                npk.save({"fresh": np.arange(2)})
                npk.array_attrs("fresh")["x"] = 1
                npk.drop("b")
                npk.save({"b": np.arange(1)})
                npk.array_attrs("c")["gone"] = 1
                npk.drop("c")
                inside = {name: npk.array_attrs(name).asdict() for name in npk}
                assert other.attrs == {} and other.array_attrs("a") == {"unit": "m", "old": 1}
            assert inside == {
                "new": {"unit": "km", "more": [1]},
                "copy": {"unit": "km", "more": [1]},
                "fresh": {"x": 1},
                "b": {},
            }
            assert {name: other.array_attrs(name).asdict() for name in other} == inside
            assert other.attrs == {"model": "x"}

    def test_keys_that_others_set_meanwhile_stay(self, path):
        with NumPack(path) as npk, NumPack(path) as other:
            npk.attrs = {"a": 1, "b": 1, "c": 1}
            with npk.batch_mode():
                npk.attrs["a"] = True
                del npk.attrs["b"]
                other.attrs.update(a=5, b=5, c=5, d=5)
            assert json.dumps(npk.attrs.asdict()) == '{"a": true, "c": 5, "d": 5}'

    def test_rollback(self, path):
        with NumPack(path) as npk:
            npk.attrs["a"] = 1
            with pytest.raises(ZeroDivisionError), npk.batch_mode(rollback=True):
                npk.attrs["a"] = 2
                raise ZeroDivisionError
            assert npk.attrs == {"a": 1}
