"""Arrays that are edited in place and written back when a block ends."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from numpack import _internal

if TYPE_CHECKING:
    from numpack.store import NumPack

__all__ = ["WritableArray", "WritableBatchMode"]


class WritableBatchMode:
    """The block that `NumPack.writable_batch_mode()` opens.

    `load` gives a writable array without copying it; leaving the block commits exactly the rows
    that differ, all arrays at once. Until then every other reader sees the old state. If another
    writer changed one of the arrays meanwhile, leaving raises ConflictError and writes nothing.

    >>> with NumPack("writable.npk") as npk:
    ...     npk.save({"a": np.zeros((3, 2), dtype=np.float32)})
    ...     with npk.writable_batch_mode() as wb:
    ...         a = wb.load("a")
    ...         a[1] = 7
    ...     npk.load("a")[1]
    array([7., 7.], dtype=float32)
    """

    def __init__(self, npk: "NumPack") -> None:
        self.npk = npk
        self._loaded: dict[str, tuple[Any, np.ndarray]] = {}

    def __enter__(self) -> Self:
        self.npk._target()
        self._loaded = {}
        return self

    def load(self, array_name: str) -> np.ndarray:
        """The array, writable; the same object at every call. A missing name is a KeyError."""
        target = self.npk._target()
        if not isinstance(target, _internal.Store):
            return target.load(array_name)  # an open batch_mode commits for us
        held = self._loaded.get(array_name)
        if held is None:
            base = target.snapshot([array_name])[0]
            array = base._private() if base._direct else base._read()
            held = self._loaded[array_name] = (base, array)
        return held[1]

    def save(self, arrays: Mapping[str, Any]) -> None:
        """Put values into arrays of the block; names that the store does not have are created.

        A value that is the loaded array itself needs nothing: it is written anyway.
        """
        if not isinstance(arrays, Mapping):
            raise ValueError("arrays must be a dictionary")
        target = self.npk._target()
        for name, value in arrays.items():
            if not target.contains(name):
                target.save({name: value})
                continue
            array = self.load(name)
            if value is not array:
                array[...] = _internal.checked_values(
                    name, value, array.dtype, array.shape, None, False
                )

    def __exit__(self, *_exception: object) -> None:
        loaded, self._loaded = self._loaded, {}
        if loaded:
            self.npk._engine().commit_batch(
                [base for base, _ in loaded.values()],
                [("update", base, array) for base, array in loaded.values()],
            )


class WritableArray:
    """One data file as a writable array: `with WritableArray(path, shape, dtype) as array`.

    For a file of a store (`<store>/data_<name>.npkd`) the block edits a private copy-on-write
    array and commits it through the store when it ends. Any other file of raw values is mapped
    with `numpy.memmap`.

    Parameters
    ----------
    file_path : str or path
        The raw file.
    shape : tuple of int
        Its shape; for a store's array it must be the array's own.
    dtype : numpy dtype
        Its dtype.
    mode : str
        "r+" to write, "r" for a read-only array.
    """

    def __init__(
        self,
        file_path: str | os.PathLike[str],
        shape: tuple[int, ...],
        dtype: Any,
        mode: Literal["r", "r+"] = "r+",
    ) -> None:
        if mode not in ("r", "r+"):
            raise ValueError(f"mode is {mode!r}, expected 'r' or 'r+'")
        self.file_path = os.fspath(file_path)
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.mode: Literal["r", "r+"] = mode
        self._npk: NumPack | None = None
        self._block: WritableBatchMode | None = None
        self._memmap: Any = None

    def __enter__(self) -> np.ndarray:
        directory, file = os.path.split(os.path.abspath(self.file_path))
        if not os.path.exists(os.path.join(directory, "metadata.npkm")):
            self._memmap = np.memmap(self.file_path, self.dtype, mode=self.mode, shape=self.shape)
            return np.asarray(self._memmap)
        from numpack.store import NumPack  # store.py imports this module

        self._npk = NumPack(directory, mode=self.mode)
        self._npk.open()
        try:
            return self._open_stored(self._npk, file)
        except BaseException:
            self._npk.close()
            raise

    def _open_stored(self, npk: "NumPack", file: str) -> np.ndarray:
        engine = npk._engine()
        names = [
            info.name
            for info in engine.infos()
            if file in (info.data_file, _internal.data_file(info.name))
        ]
        if not names:
            raise FileNotFoundError(f"{file!r} is the data file of no array in {npk.path!r}")
        info = engine.info(names[0])
        array = npk.view(names[0]) if self.mode == "r" else None
        if array is None:
            self._block = npk.writable_batch_mode()
            self._block.__enter__()
            array = self._block.load(names[0])
        if array.shape != self.shape or array.dtype != self.dtype:
            self._block = None
            raise ValueError(
                f"array {info.name!r} has shape {array.shape} and dtype {array.dtype}, "
                f"given {self.shape} and {self.dtype}"
            )
        return array

    def __exit__(self, *exception: object) -> None:
        if self._memmap is not None:
            if self.mode != "r":
                self._memmap.flush()
            self._memmap = None
        try:
            if self._block is not None:
                self._block.__exit__(*exception)
        finally:
            self._block = None
            if self._npk is not None:
                self._npk.close()
                self._npk = None
