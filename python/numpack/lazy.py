"""`LazyArray`: one array of a store as it was at one instant, read where it is touched."""

import operator
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from numpack import _internal
from numpack.compat import LegacyLazyMethods
from numpack.exceptions import NotContiguousError

__all__ = ["LazyArray"]

# Iteration reads this many bytes at once.
_ITERATION_BYTES = 1 << 20


def _binary(apply: Callable[[Any, Any], Any], name: str, *, bitwise: bool = False) -> Any:
    def forward(self: "LazyArray", other: Any) -> Any:
        if bitwise:
            self._need_integers()
        return apply(self.__array__(), _plain(other))

    forward.__name__ = name
    return forward


def _reflected(apply: Callable[[Any, Any], Any], name: str, *, bitwise: bool = False) -> Any:
    def backward(self: "LazyArray", other: Any) -> Any:
        if bitwise:
            self._need_integers()
        return apply(_plain(other), self.__array__())

    backward.__name__ = name
    return backward


def _unary(apply: Callable[[Any], Any], name: str, *, bitwise: bool = False) -> Any:
    def method(self: "LazyArray") -> Any:
        if bitwise:
            self._need_integers()
        return apply(self.__array__())

    method.__name__ = name
    return method


def _plain(value: Any) -> Any:
    return value.__array__() if isinstance(value, LazyArray) else value


class LazyArray(LegacyLazyMethods, _internal.ArrayView):
    """A read-only snapshot of one array, indexed as NumPy indexes.

    `npk.load(name, lazy=True)` makes one. It costs microseconds whatever the array's size, and
    reads only the pages that an index touches. Later changes of the store do not show in it, and
    it stays valid after the store is closed or the array is dropped. Whatever indexing returns is
    an ordinary array (or scalar) of its own, free to be written to. Operators work on the whole
    array and return ndarrays.

    >>> with NumPack("lazy.npk") as npk:
    ...     npk.save({"a": np.arange(6, dtype=np.int32).reshape(3, 2)})
    ...     lazy = npk.load("a", lazy=True)
    >>> lazy.shape, lazy.dtype
    ((3, 2), dtype('int32'))
    >>> lazy[1]
    array([2, 3], dtype=int32)
    >>> lazy[[2, 0], 1]
    array([5, 1], dtype=int32)
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment] # elementwise == makes a hash meaningless

    # ------------------------------------------------------------------ describing itself
    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> np.ndarray:  # noqa: N802 - NumPy's name
        """The transpose as an ndarray (the array is read)."""
        return self._owned().T

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __bool__(self) -> bool:
        return self.shape[0] > 0 if self.shape else True

    def __repr__(self) -> str:
        head = f"LazyArray({self.name!r}, shape={self.shape}, dtype={self.dtype}"
        if self.size == 0:
            return head + ")"
        # A few rows and columns of the edges, so that a huge array stays unread.
        seven = [0, 1, 2, 3, -3, -2, -1]
        edges = self[tuple(slice(None) if n <= 7 else seven for n in self.shape[:1])]
        for axis, length in enumerate(self.shape[1:], start=1):
            if length > 7:
                edges = np.take(edges, seven, axis=axis)
        text = np.array2string(np.asarray(edges), threshold=6, edgeitems=3, prefix="    ")
        return f"{head},\n    {text})"

    def __reduce__(self) -> Any:
        raise TypeError("a LazyArray cannot be pickled: pickle the NumPack handle, or lazy[...]")

    # ------------------------------------------------------------------ reading
    def __getitem__(self, key: Any) -> Any:
        rows = self._rows(key)
        if rows is not None:
            return rows
        if self._direct:
            return self._index_whole(key)
        return self._index_runs(key)

    def _index_whole(self, key: Any) -> Any:
        """Index an array without deleted rows: NumPy does it on the mapped pages."""
        found = self._ndarray()[key]
        # A basic index gives a view of the mapping, which is read-only; its holder gets a copy.
        if isinstance(found, np.ndarray) and not found.flags.writeable:
            return found.copy()
        return found

    def _index_runs(self, key: Any) -> Any:
        """Index an array with deleted rows.

        Only the part of the key that speaks of axis 0 knows about deletions. It is read into a
        dense array of just those rows, and the key is rewritten to select all of them, so that the
        rest of NumPy's rules (pairing, broadcasting, new axes) stay NumPy's.
        """
        parts = list(key) if isinstance(key, tuple) else [key]
        place = self._axis0_part(parts)
        if place is None:
            return self._finish(self._owned()[key])
        part = parts[place]
        rows = self.shape[0]
        if isinstance(part, slice):
            dense = self._rows(part)
            if dense is None:
                dense = self._gather(np.arange(*part.indices(rows), dtype=np.int64))
            parts[place] = slice(None)
            return self._finish(dense[tuple(parts)])
        if not isinstance(part, np.ndarray):
            try:
                row = operator.index(part)
            except TypeError:
                part = np.asarray(part)
                if part.size == 0 and part.dtype == np.float64:
                    part = part.astype(np.intp)  # NumPy reads an empty list as integers
            else:
                dense = self._gather(np.array([row], dtype=np.int64))
                parts[place] = 0
                return self._finish(dense[tuple(parts)])
        if part.dtype == np.bool_:
            if part.ndim == 0 or part.shape != self.shape[: part.ndim]:
                return self._finish(self._owned()[key])
            chosen = part.nonzero()
            dense = self._gather(chosen[0].astype(np.int64))
            parts[place : place + 1] = [np.arange(len(chosen[0])), *chosen[1:]]
            return self._finish(dense[tuple(parts)])
        if part.dtype.kind not in "iu":
            raise IndexError(
                f"array {self.name!r}: rows are chosen by integers, slices or masks, "
                f"not by {part.dtype}"
            )
        dense = self._gather(part.astype(np.int64).ravel())
        parts[place] = np.arange(part.size).reshape(part.shape)
        return self._finish(dense[tuple(parts)])

    def _axis0_part(self, parts: list[Any]) -> int | None:
        """Where in the key axis 0 is named; None when it is taken whole."""
        for place, part in enumerate(parts):
            if part is None:
                continue
            if part is Ellipsis:
                others = sum(
                    part.ndim if isinstance(part, np.ndarray) and part.dtype == np.bool_ else 1
                    for part in parts
                    if part is not None and part is not Ellipsis
                )
                if others < self.ndim:
                    return None
                continue
            if isinstance(part, (bool, np.bool_)):
                return None
            return place
        return None

    @staticmethod
    def _finish(found: Any) -> Any:
        if isinstance(found, np.ndarray) and not found.flags.writeable:
            return found.copy()
        return found

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        row_bytes = max(1, self.nbytes // max(1, self.shape[0]))
        step = max(1, _ITERATION_BYTES // row_bytes)
        for start in range(0, self.shape[0], step):
            yield from self[start : start + step]

    def __contains__(self, value: Any) -> bool:
        return value in self.__array__()

    def _owned(self) -> np.ndarray:
        """A private writable copy of the whole array."""
        return self._read()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The array for NumPy: a read-only view without a copy where rows are contiguous.

        `copy=True` gives a private writable array; `copy=False` is a ValueError where rows have
        been deleted or the dtype differs.
        """
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        if copy is False:
            if wanted != self.dtype:
                raise ValueError(
                    f"array {self.name!r}: {self.dtype} as {wanted} needs a copy, and copy=False"
                )
            if not self._direct:
                raise ValueError(
                    f"array {self.name!r} has deleted rows: it needs a copy, and copy=False"
                )
            return self._ndarray()
        if copy or not self._direct:
            whole = self._owned()
        else:
            whole = self._ndarray()
        return whole if wanted == self.dtype else whole.astype(wanted)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A DLPack capsule: the array for NumPy, PyTorch, JAX and others, without a copy.

        Each capsule has a copy-on-write map of its own: what a consumer writes in place stays in
        its own pages. Consumers that honour DLPack's read-only flag (NumPy) see a read-only
        array; PyTorch, which asks for the version that has the flag and then ignores it, may
        write. With deleted rows the capsule holds a copy, which `copy=False` refuses with a
        BufferError.

        >>> with NumPack("d.npk") as npk:
        ...     npk.save({"a": np.arange(3)})
        ...     np.from_dlpack(npk.load("a", lazy=True))
        array([0, 1, 2])
        """
        if copy:
            array = self._owned()
        else:
            try:
                array = self._private().reshape(self.shape)
            except NotContiguousError as error:
                if copy is not None:
                    raise BufferError(f"{error}, and copy=False") from None
                array = self._owned()
        versioned = max_version is not None and max_version[0] >= 1
        array.flags.writeable = bool(copy) or not versioned
        # The memory is already what was asked for, so NumPy need not know of `copy`.
        return array.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The CPU, as DLPack names it."""
        return (1, 0)

    def reshape(self, new_shape: int | tuple[int, ...] | list[int]) -> "LazyArray":
        """The same elements in another shape, as a LazyArray; free where no rows are deleted.

        One length may be -1. Zero and other negative lengths, and a shape of another size, are
        ValueErrors.
        """
        if isinstance(new_shape, (tuple, list)):
            lengths = [operator.index(length) for length in new_shape]
        else:
            try:
                lengths = [operator.index(new_shape)]
            except TypeError:
                raise ValueError("new_shape must be a tuple, list, or integer") from None
        if lengths.count(-1) > 1:
            raise ValueError("Only one dimension can be -1")
        if any(length < -1 for length in lengths):
            raise ValueError("Negative dimensions other than -1 are not supported in reshape")
        if any(length == 0 for length in lengths):
            raise ValueError("Dimensions must be positive integers or -1")
        size = self.size
        known = 1
        for length in lengths:
            known *= length if length != -1 else 1
        if -1 in lengths:
            if size % known:
                raise ValueError(
                    f"Cannot infer dimension: size {size} is no multiple of {known} ({lengths})"
                )
            lengths[lengths.index(-1)] = size // known
        elif known != size:
            raise ValueError(
                f"Cannot reshape array of size {size} into shape {lengths} (total size {known})"
            )
        return LazyArray(self, lengths)

    # ------------------------------------------------------------------ manners of 0.4.2
    def close(self) -> None:
        """Do nothing: the snapshot is released with the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        return None

    def _need_integers(self) -> None:
        if self.dtype.kind not in "iub":
            raise TypeError("Bitwise operations are only supported for integer arrays")

    # ------------------------------------------------------------------ operators
    __add__ = _binary(operator.add, "__add__")
    __radd__ = _reflected(operator.add, "__radd__")
    __sub__ = _binary(operator.sub, "__sub__")
    __rsub__ = _reflected(operator.sub, "__rsub__")
    __mul__ = _binary(operator.mul, "__mul__")
    __rmul__ = _reflected(operator.mul, "__rmul__")
    __matmul__ = _binary(operator.matmul, "__matmul__")
    __rmatmul__ = _reflected(operator.matmul, "__rmatmul__")
    __truediv__ = _binary(operator.truediv, "__truediv__")
    __rtruediv__ = _reflected(operator.truediv, "__rtruediv__")
    __floordiv__ = _binary(operator.floordiv, "__floordiv__")
    __rfloordiv__ = _reflected(operator.floordiv, "__rfloordiv__")
    __mod__ = _binary(operator.mod, "__mod__")
    __rmod__ = _reflected(operator.mod, "__rmod__")
    __divmod__ = _binary(divmod, "__divmod__")
    __rdivmod__ = _reflected(divmod, "__rdivmod__")
    __pow__ = _binary(operator.pow, "__pow__")
    __rpow__ = _reflected(operator.pow, "__rpow__")
    __and__ = _binary(operator.and_, "__and__", bitwise=True)
    __rand__ = _reflected(operator.and_, "__rand__", bitwise=True)
    __or__ = _binary(operator.or_, "__or__", bitwise=True)
    __ror__ = _reflected(operator.or_, "__ror__", bitwise=True)
    __xor__ = _binary(operator.xor, "__xor__", bitwise=True)
    __rxor__ = _reflected(operator.xor, "__rxor__", bitwise=True)
    __lshift__ = _binary(operator.lshift, "__lshift__", bitwise=True)
    __rlshift__ = _reflected(operator.lshift, "__rlshift__", bitwise=True)
    __rshift__ = _binary(operator.rshift, "__rshift__", bitwise=True)
    __rrshift__ = _reflected(operator.rshift, "__rrshift__", bitwise=True)
    __lt__ = _binary(operator.lt, "__lt__")
    __le__ = _binary(operator.le, "__le__")
    __eq__ = _binary(operator.eq, "__eq__")
    __ne__ = _binary(operator.ne, "__ne__")
    __gt__ = _binary(operator.gt, "__gt__")
    __ge__ = _binary(operator.ge, "__ge__")
    __neg__ = _unary(operator.neg, "__neg__")
    __pos__ = _unary(operator.pos, "__pos__")
    __abs__ = _unary(abs, "__abs__")
    __invert__ = _unary(operator.invert, "__invert__", bitwise=True)
