"""The Arrow extension types `numpack.complex64` and `numpack.complex128`, as pyarrow sees them.

Arrow has no complex numbers. A store shows them as pairs of floats under an extension name; this
module makes that name known to pyarrow, so that a column of pairs comes out as complex numbers.
It imports pyarrow and registers the types when it is imported itself, which `numpack` does by the
time pyarrow is there (see `arrow_hook.py`).
"""

from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

__all__ = ["Complex64Type", "Complex128Type", "ComplexArray", "ComplexScalar"]


class ComplexScalar(pa.ExtensionScalar):
    """One complex number, or null."""

    def as_py(self, **_options: Any) -> complex | None:
        """The value as a Python complex; a missing part is NaN."""
        pair = self.value
        if pair is None or not pair.is_valid:
            return None
        real, imaginary = (np.nan if part is None else part for part in pair.as_py())
        return complex(real, imaginary)


class ComplexArray(pa.ExtensionArray):
    """An array of complex numbers, stored as pairs of floats."""

    def to_numpy(self, zero_copy_only: bool = True, writable: bool = False) -> np.ndarray:
        """The numbers as a complex ndarray of shape (n,), without a copy where none is needed.

        Nulls become NaN, which is a copy: with `zero_copy_only` they are a ValueError, as in
        pyarrow's own arrays.
        """
        storage = self.storage
        pairs = storage.values.slice(storage.offset * 2, len(storage) * 2)
        if pairs.null_count or storage.null_count:
            if zero_copy_only:
                raise ValueError(
                    f"{storage.null_count or pairs.null_count} nulls of {self.type} need a copy, "
                    "and zero_copy_only is set"
                )
            # NumPy has no null: NaN stands in, for a part or for the number as a whole.
            floats = pairs.to_numpy(zero_copy_only=False).astype(self.type.part, copy=True)
            numbers = floats.view(self.type.numpy_dtype)
            numbers[storage.is_null().to_numpy(zero_copy_only=False)] = complex(np.nan, np.nan)
            return numbers
        numbers = pairs.to_numpy(zero_copy_only=True).view(self.type.numpy_dtype)
        if writable:
            if zero_copy_only:
                raise ValueError("a writable array needs a copy, and zero_copy_only is set")
            return numbers.copy()
        return numbers


class _ComplexType(pa.ExtensionType):
    numpy_dtype: np.dtype[Any]
    part: np.dtype[Any]

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, _serialized: bytes) -> Any:
        return cls(storage_type)

    def __arrow_ext_class__(self) -> type:
        return ComplexArray

    def __arrow_ext_scalar_class__(self) -> type:
        return ComplexScalar


class Complex64Type(_ComplexType):
    """Pairs of float32: the real and the imaginary part."""

    numpy_dtype = np.dtype(np.complex64)
    part = np.dtype(np.float32)

    def __init__(self, storage_type: pa.DataType | None = None) -> None:
        super().__init__(_pairs(storage_type, pa.float32()), "numpack.complex64")


class Complex128Type(_ComplexType):
    """Pairs of float64: the real and the imaginary part."""

    numpy_dtype = np.dtype(np.complex128)
    part = np.dtype(np.float64)

    def __init__(self, storage_type: pa.DataType | None = None) -> None:
        super().__init__(_pairs(storage_type, pa.float64()), "numpack.complex128")


def _pairs(storage_type: pa.DataType | None, part: pa.DataType) -> pa.DataType:
    pairs = pa.list_(part, 2)
    if storage_type is None:
        return pairs
    fits = (
        pa.types.is_fixed_size_list(storage_type)
        and storage_type.list_size == 2
        and storage_type.value_type == part
    )
    if not fits:
        raise ValueError(f"complex numbers are stored as {pairs}, not as {storage_type}")
    return storage_type


for _type in (Complex64Type(), Complex128Type()):
    try:
        pa.register_extension_type(_type)
    except pa.ArrowKeyError:
        pass  # the name is taken: this module was loaded a second time
