"""Hypothesis strategies for arrays and for selections of rows."""

import numpy as np
from hypothesis import strategies as st
from support import DTYPES, sample

dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)
row_shapes = st.one_of(
    st.just(()),
    st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple),
)


@st.composite
def arrays(draw, dtype=None, min_rank=0, large=False):
    """An array of any dtype, rank 0 to 4, zero sizes included; `large`: some of 70 kB and more."""
    chosen = dtype if dtype is not None else draw(dtypes)
    if large and draw(st.booleans()):
        return sample(chosen, (draw(st.integers(60, 70)), 1100), draw(seeds))
    if min_rank == 0 and draw(st.integers(0, 9)) == 0:
        shape = ()
    else:
        shape = (draw(st.integers(0, 70)), *draw(row_shapes))
    return sample(chosen, shape, draw(seeds))


@st.composite
def layouts(draw, array):
    """The same values in another memory layout or byte order."""
    kinds = ["plain", "fortran", "reversed", "strided", "swapped", "unaligned"]
    kind = draw(st.sampled_from(kinds))
    if kind == "fortran" and array.ndim:
        return np.asfortranarray(array)
    if kind == "reversed" and array.ndim:
        return np.ascontiguousarray(array[::-1])[::-1]
    if kind == "strided" and array.ndim:
        wide = np.repeat(array, 2, axis=0)
        return wide[::2]
    if kind == "swapped":
        return array.astype(array.dtype.newbyteorder(">"))
    if kind == "unaligned":
        raw = np.zeros(array.nbytes + 1, np.uint8)
        view = raw[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        # Assigning may quieten a signalling NaN, copying the bytes does not.
        raw[1:] = np.frombuffer(array.tobytes(), np.uint8)
        return view
    return array


def slices(rows):
    bound = st.none() | st.integers(-rows - 3, rows + 3)
    step = st.none() | st.integers(-3, 3).filter(bool)
    return st.builds(slice, bound, bound, step)


@st.composite
def selections(draw, rows):
    """Any valid index for `rows` rows, in every form that a caller may use."""
    kinds = ["slice", "mask", "empty"]
    if rows:
        kinds += ["int", "numpy int", "list", "tuple", "range", "array", "small array", "mask list"]
    kind = draw(st.sampled_from(kinds))
    if kind == "slice":
        return draw(slices(rows))
    if kind in ("mask", "mask list"):
        share = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
        bits = np.random.default_rng(draw(seeds)).random(rows) < share
        return bits if kind == "mask" else bits.tolist()
    if kind == "empty":
        return draw(st.sampled_from([[], (), range(0), np.array([], np.int64)]))
    if kind == "range":
        start = draw(st.integers(0, rows - 1))
        step = draw(st.integers(1, 4))
        forward = range(start, rows, step)
        return forward[::-1] if draw(st.booleans()) else forward
    position = st.integers(-rows, rows - 1)
    if kind == "int":
        return draw(position)
    if kind == "numpy int":
        return draw(st.sampled_from([np.int64, np.int32, np.intp]))(draw(position))
    picks = draw(st.lists(position, min_size=1, max_size=12))
    if kind == "tuple":
        return tuple(picks)
    if kind == "array":
        return np.array(picks, np.int64)
    if kind == "small array":
        return np.array(picks, draw(st.sampled_from([np.int8, np.int16, np.int32])))
    return picks
