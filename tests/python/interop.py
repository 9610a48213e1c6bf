"""Who reads an array in place: each pair is measured by address, and docs/interop.md is them.

`python tests/python/interop.py` writes the document anew. test_interop.py measures every pair whose
library is installed, and fails where the document says something else.
"""

import contextlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support import ROOT, address, lies_in, plain

DOCUMENT = ROOT / "docs" / "interop.md"
ROWS = 20_000

ZERO, COPY, REFUSED = "zero-copy", "one copy", "refused"


def arrays():
    """One array of each kind that has a row of its own in the mapping to Arrow."""
    return {
        "x": plain("float64", (ROWS,), 1),
        "emb": plain("float32", (ROWS, 8), 2),
        "img": plain("int16", (ROWS, 2, 3), 3),
        "half": plain("float16", (ROWS,), 4),
        "z": plain("complex64", (ROWS,), 5),
        "zz": plain("complex128", (ROWS, 2), 6),
        "flag": plain("int8", (ROWS,), 7) % 3 == 0,
        "mask": plain("int8", (ROWS, 4), 8) % 3 == 0,
        "cube": plain("int8", (ROWS, 2, 2), 9) % 3 == 0,
    }


@dataclass(frozen=True)
class Pair:
    """One way for one library to get at an array."""

    library: str
    array: str
    door: str
    """What the reader of the document types; `npk` is the store, `lazy` the LazyArray."""
    outcome: str
    why: str
    found: Callable[..., tuple[Any, int | None]]
    """From (npk, name, library): the values as an ndarray, and the address they lie at."""
    deleted: str = ""
    """"": none, "few": two rows in the middle, "many": every third row."""
    error: tuple[type[BaseException], ...] = (ValueError,)

    def __str__(self) -> str:
        return f"{self.library} {self.door} {self.array} {self.deleted}".strip()

    def available(self) -> bool:
        return importlib.util.find_spec(MODULES[self.library]) is not None

    def measure(self, npk: Any, original: np.ndarray) -> str:
        """The outcome as the addresses tell it, after the values have been compared."""
        module = importlib.import_module(MODULES[self.library])
        rows = {"": [], "few": [5000, 12_000], "many": range(0, ROWS, 3)}[self.deleted]
        if len(rows):
            npk.drop(self.array, list(rows))
            original = np.delete(original, list(rows), axis=0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values, position = self.found(npk, self.array, module)
        except self.error:
            if self.outcome != REFUSED:
                raise
            return REFUSED
        values = np.asarray(values)
        assert values.reshape(original.shape).tolist() == original.tolist(), str(self)
        if position is None:
            position = address(values)
        return ZERO if lies_in(position, npk.path) else COPY


MODULES = {
    "NumPy": "numpy",
    "pyarrow": "pyarrow",
    "Polars": "polars",
    "DuckDB": "duckdb",
    "pandas": "pandas",
    "PyTorch": "torch",
    "tvm-ffi": "tvm_ffi",
}


# ---------------------------------------------------------------------- looking into what is found
def storage(array):
    """The innermost values of a pyarrow.Array: below extensions and lists."""
    import pyarrow as pa

    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        elif isinstance(array.type, pa.FixedSizeListType):
            array = array.flatten()
        else:
            return array


def of_arrow(array):
    """Values and address of a pyarrow.Array."""
    import pyarrow as pa

    inner = storage(array)
    if inner.type == pa.bool_():
        return inner.to_numpy(zero_copy_only=False), inner.buffers()[1].address
    values = inner.to_numpy(zero_copy_only=True)
    position = address(values)
    names = {"numpack.complex64": "c8", "numpack.complex128": "c16"}
    kind = names.get(getattr(array.type, "extension_name", ""))
    return (values.view(kind) if kind else values), position


def of_chunks(chunked):
    """Values of a pyarrow.ChunkedArray, and the address of each chunk."""
    parts = [of_arrow(chunk) for chunk in chunked.chunks]
    return np.concatenate([values for values, _ in parts]), [position for _, position in parts]


def of_column(table, name, dtype=None):
    """Values and address of a pyarrow.Table's only chunk."""
    (chunk,) = table.column(name).chunks
    values, position = of_arrow(chunk)
    return (values.view(dtype) if dtype else values), position


def of_series(series):
    """Values and address of a polars.Series, below extensions."""
    while series.dtype.__class__.__name__ == "Extension":
        series = series.ext.storage()
    arrow = series.to_arrow()  # zero-copy for numbers and arrays of numbers
    return of_arrow(arrow.combine_chunks() if hasattr(arrow, "chunks") else arrow)


def complex_of(npk, name, found):
    """A tensor of pairs as the complex numbers it stands for."""
    values, position = found
    return values.view(npk.load(name, lazy=True).dtype), position


def as_bool(found):
    values, position = found
    return values.astype(bool), position


def lazy(npk, name):
    return npk.load(name, lazy=True)


def here(values):
    return values, None


def to_arrow(npk, name, pa, **options):
    found = of_arrow(npk.to_arrow(name, **options))
    return complex_of(npk, name, found) if name == "zz" else found


def only(npk, name):
    return npk.table(name)


# ---------------------------------------------------------------------- the pairs
PAIRS: list[Pair] = []


def pair(library, names, door, outcome, why, found, deleted="", error=(ValueError,)):
    for name in names.split():
        PAIRS.append(Pair(library, name, door, outcome, why, found, deleted, error))


EVERY = "x emb img half z zz flag mask cube"

pair("NumPy", EVERY, "npk.view(name)", ZERO, "", lambda n, a, np: here(n.view(a)))
pair("NumPy", EVERY, "np.asarray(lazy)", ZERO, "", lambda n, a, np: here(np.asarray(lazy(n, a))))
pair(
    "NumPy",
    EVERY,
    "np.from_dlpack(lazy)",
    ZERO,
    "read-only, over copy-on-write pages of its own",
    lambda n, a, np: here(np.from_dlpack(lazy(n, a))),
)
pair(
    "NumPy",
    "emb",
    "memoryview(lazy)",
    ZERO,
    "the buffer protocol",
    lambda n, a, np: here(memoryview(lazy(n, a))),
)
pair(
    "NumPy",
    "emb",
    "npk.load(name, copy=False)",
    ZERO,
    "writable, over copy-on-write pages of its own",
    lambda n, a, np: here(n.load(a, copy=False)),
)
pair("NumPy", "emb", "npk.load(name)", COPY, "memory of your own", lambda n, a, np: here(n.load(a)))
pair(
    "NumPy",
    "emb",
    "np.asarray(lazy)",
    COPY,
    "an ndarray has one stride from row to row",
    lambda n, a, np: here(np.asarray(lazy(n, a))),
    "few",
)
pair(
    "NumPy",
    "emb",
    "memoryview(lazy)",
    COPY,
    "a buffer has one stride from row to row; NumPy prefers it, so `np.asarray(lazy, copy=False)` "
    "is this copy too",
    lambda n, a, np: here(memoryview(lazy(n, a))),
    "few",
)
for _door, _call in {
    "npk.view(name)": lambda n, a, np: here(n.view(a)),
    "lazy.__array__(copy=False)": lambda n, a, np: here(lazy(n, a).__array__(copy=False)),
    "np.from_dlpack(lazy, copy=False)": lambda n, a, np: here(
        np.from_dlpack(lazy(n, a), copy=False)
    ),
}.items():
    pair(
        "NumPy",
        "emb",
        _door,
        REFUSED,
        "as above, and a copy is ruled out",
        _call,
        "few",
        (ValueError, BufferError),
    )

pair("pyarrow", EVERY, "npk.to_arrow(name)", ZERO, "", to_arrow)
pair(
    "pyarrow",
    "flag mask",
    "npk.to_arrow(name, bool8=False)",
    COPY,
    "a byte a value is packed into a bit a value",
    lambda n, a, pa: to_arrow(n, a, pa, bool8=False),
)
pair(
    "pyarrow",
    "x emb img half z",
    "pa.array(lazy)",
    ZERO,
    "`__arrow_c_array__`",
    lambda n, a, pa: of_arrow(pa.array(lazy(n, a))),
)
pair(
    "pyarrow",
    "x emb img half z",
    "npk.to_arrow([name])",
    ZERO,
    "",
    lambda n, a, pa: of_column(n.to_arrow([a]), a),
)
pair(
    "pyarrow",
    "x emb img half z",
    "pa.table(npk.table(name))",
    ZERO,
    "`__arrow_c_stream__`",
    lambda n, a, pa: of_column(pa.table(only(n, a)), a),
)
pair(
    "pyarrow",
    "flag mask",
    "pa.table(npk.table(name))",
    COPY,
    "streams show bool as Boolean, packed into bits",
    lambda n, a, pa: of_column(pa.table(only(n, a)), a),
)
pair(
    "pyarrow",
    "x emb img",
    "npk.to_arrow(name)",
    COPY,
    "an Array is one piece",
    to_arrow,
    "few",
)
pair(
    "pyarrow",
    "x emb img",
    "npk.to_arrow(name, zero_copy_only=True)",
    REFUSED,
    "as above, and a copy is ruled out",
    lambda n, a, pa: to_arrow(n, a, pa, zero_copy_only=True),
    "few",
)
pair(
    "pyarrow",
    "x emb img",
    "pa.table(npk.table(name))",
    ZERO,
    "one chunk for each run of live rows",
    lambda n, a, pa: every_chunk(n, pa.table(only(n, a)).column(a)),
    "few",
)
pair(
    "pyarrow",
    "x emb img",
    "pa.table(npk.table(name))",
    COPY,
    "runs of fewer than 4,096 rows on average are gathered",
    lambda n, a, pa: every_chunk(n, pa.table(only(n, a)).column(a)),
    "many",
)
pair(
    "pyarrow",
    "emb",
    "npk.to_arrow(name).to_numpy()",
    REFUSED,
    "pyarrow makes no ndarray of lists: `flatten().to_numpy().reshape(-1, k)` does, in place",
    lambda n, a, pa: here(n.to_arrow(a).to_numpy(zero_copy_only=True)),
    error=(ValueError,),
)
pair(
    "pyarrow",
    "img",
    "npk.to_arrow(name).to_numpy_ndarray()",
    ZERO,
    "",
    lambda n, a, pa: here(n.to_arrow(a).to_numpy_ndarray()),
)
pair(
    "pyarrow",
    "flag",
    "npk.to_arrow(name).to_numpy()",
    ZERO,
    "`arrow.bool8` is NumPy's bool",
    lambda n, a, pa: here(n.to_arrow(a).to_numpy(zero_copy_only=True)),
)
pair(
    "pyarrow",
    "z",
    "npk.to_arrow(name).to_numpy()",
    ZERO,
    "`numpack.complex64` is NumPy's complex64",
    lambda n, a, pa: here(n.to_arrow(a).to_numpy()),
)

pair(
    "Polars",
    "x emb img half z",
    "pl.DataFrame(npk.table(name))",
    ZERO,
    "`__arrow_c_stream__`",
    lambda n, a, pl: of_polars(n, a, pl.DataFrame(only(n, a))[a]),
)
pair(
    "Polars",
    "flag mask",
    "pl.DataFrame(npk.table(name))",
    COPY,
    "Polars has a bit a value",
    lambda n, a, pl: of_polars(n, a, pl.DataFrame(only(n, a))[a]),
)
pair(
    "Polars",
    "x emb half",
    "pl.from_arrow(npk.to_arrow(name))",
    ZERO,
    "",
    lambda n, a, pl: of_polars(n, a, pl.from_arrow(n.to_arrow(a))),
)
pair(
    "Polars",
    "x emb",
    "pl.DataFrame(npk.table(name))[name].to_numpy()",
    ZERO,
    "with `allow_copy=False`, (n,) and (n, k)",
    lambda n, a, pl: here(pl.DataFrame(only(n, a))[a].to_numpy(allow_copy=False)),
)

pair(
    "DuckDB",
    "x emb img flag",
    "duckdb.sql('FROM part')",
    COPY,
    "DuckDB fills vectors of 2,048 values of its own while it scans; tensors lose their shape",
    lambda n, a, duckdb: of_duckdb(n, a, duckdb),
)
pair(
    "DuckDB",
    "half",
    "duckdb.sql('FROM part')",
    REFUSED,
    "DuckDB has no float16: a warning names the arrays to leave out with `npk.table(...)`",
    lambda n, a, duckdb: of_duckdb(n, a, duckdb),
    error=(Exception,),
)

pair(
    "pandas",
    "x half emb",
    "npk.table(name).to_pandas(types_mapper=pd.ArrowDtype)",
    ZERO,
    "the column stays Arrow's",
    lambda n, a, pd: of_pandas_arrow(n, a, pd),
)
pair(
    "pandas",
    "x",
    "npk.table(name).to_pandas()",
    COPY,
    "pyarrow puts columns of one dtype into one block",
    lambda n, a, pd: here(only(n, a).to_pandas()[a].to_numpy()),
)
pair(
    "pandas",
    "x",
    "npk.table(name).to_pandas(split_blocks=True)",
    ZERO,
    "a block for each column",
    lambda n, a, pd: here(only(n, a).to_pandas(split_blocks=True)[a].to_numpy()),
)
pair(
    "pandas",
    "emb",
    "pd.DataFrame(npk.view(name), copy=False)",
    ZERO,
    "a column for each column",
    lambda n, a, pd: here(pd.DataFrame(n.view(a), copy=False).to_numpy()),
)
pair(
    "pandas",
    "x",
    "pd.Series(npk.view(name), copy=False)",
    ZERO,
    "",
    lambda n, a, pd: here(pd.Series(n.view(a), copy=False).to_numpy()),
)
pair(
    "pandas",
    "x",
    "pd.Series(npk.view(name))",
    COPY,
    "pandas 3 copies what it is handed by default",
    lambda n, a, pd: here(pd.Series(n.view(a)).to_numpy()),
)
pair(
    "pandas",
    "emb",
    "npk.table(name).to_pandas()",
    COPY,
    "a column of lists is a column of objects",
    lambda n, a, pd: (
        np.stack(only(n, a).to_pandas()[a].to_list()),
        address(np.stack(only(n, a).to_pandas()[a].to_list())),
    ),
)

pair(
    "PyTorch",
    "x emb img half z zz flag mask cube",
    "torch.from_dlpack(lazy)",
    ZERO,
    "copy-on-write pages of its own: work in place is safe and private",
    lambda n, a, torch: of_torch(torch.from_dlpack(lazy(n, a))),
)
pair(
    "PyTorch",
    "emb",
    "torch.from_numpy(npk.load(name, copy=False))",
    ZERO,
    "the same",
    lambda n, a, torch: of_torch(torch.from_numpy(n.load(a, copy=False))),
)
pair(
    "PyTorch",
    "emb",
    "torch.from_dlpack(lazy)",
    COPY,
    "a tensor has one stride from row to row",
    lambda n, a, torch: of_torch(torch.from_dlpack(lazy(n, a))),
    "few",
)
pair(
    "PyTorch",
    "emb",
    "torch.from_dlpack(lazy, copy=False)",
    REFUSED,
    "as above, and a copy is ruled out",
    lambda n, a, torch: of_torch(torch.from_dlpack(lazy(n, a), copy=False)),
    "few",
    (BufferError,),
)
pair(
    "tvm-ffi",
    "emb",
    "tvm_ffi.from_dlpack(lazy)",
    ZERO,
    "DLPack without a version, as older libraries ask for it",
    lambda n, a, tvm: of_tvm(tvm.from_dlpack(lazy(n, a))),
)


def every_chunk(npk, chunked):
    """Values of all chunks; the address of one outside of the store, if there is one."""
    values, positions = of_chunks(chunked)
    outside = [position for position in positions if not lies_in(position, npk.path)]
    return values, (outside or positions)[0]


def of_polars(npk, name, series):
    found = of_series(series)
    return complex_of(npk, name, found) if name in ("z", "zz") else found


def of_duckdb(npk, name, duckdb):
    part = only(npk, name)
    found = duckdb.sql("FROM part").to_arrow_table().column(name).combine_chunks()
    del part
    return of_arrow(found)


def of_pandas_arrow(npk, name, pd):
    frame = only(npk, name).to_pandas(types_mapper=pd.ArrowDtype)
    return every_chunk(npk, frame[name].array.__arrow_array__())


def of_torch(tensor):
    return tensor.numpy(), tensor.data_ptr()


def of_tvm(tensor):
    return np.from_dlpack(tensor), tensor.data_ptr()


# ---------------------------------------------------------------------- the document
SHAPES = {
    "x": "float64 (n,)",
    "emb": "float32 (n, 8)",
    "img": "int16 (n, 2, 3)",
    "half": "float16 (n,)",
    "z": "complex64 (n,)",
    "zz": "complex128 (n, 2)",
    "flag": "bool (n,)",
    "mask": "bool (n, 4)",
    "cube": "bool (n, 2, 2)",
}
DELETED = {"": "", "few": ", two rows deleted", "many": ", every third row deleted"}

HEAD = """# Who reads an array in place

Written by `python tests/python/interop.py`; do not edit. The tests measure every row: they compare
all values with what was saved, and look whether the address of what the library holds lies in a
mapping of the store's own files (*zero-copy*) or not (*one copy*). Last measured with
{versions}.
PyTorch's rows are measured where it is installed: `make test-deep` sees to that, and `make test`
does not, because its wheel for Linux brings gigabytes of CUDA.

`npk` is an open store, `lazy` is `npk.load(name, lazy=True)`. Whatever is handed out is a snapshot:
nothing that happens to the store changes or ends it ([zero-copy.md](zero-copy.md)).

Three things to know:

- **PyTorch ignores DLPack's read-only flag.** It asks for the version of the protocol that has it,
  and then lets you write. A capsule of ours therefore never holds pages that others share: each has
  a copy-on-write map of its own, where work in place costs a page at a time and is seen by nobody
  else. `torch.asarray(lazy)` takes the buffer protocol instead, loses the shape, and crashes when
  the tensor is written to: use `torch.from_dlpack`.
- **DuckDB has no float16**, and says no more than that it knows no type `e`. Leave such arrays out:
  `npk.table("id", "emb")` is a relation of just these two. Where DuckDB is loaded, NumPack warns
  and names them.
- **Streams pack bool into bits**, which every reader of Arrow knows: a copy of an eighth of the
  size. `npk.to_arrow(name)` shows the bytes as they are, as `arrow.bool8`.
"""


def document() -> str:
    """The text of docs/interop.md."""
    text = [HEAD.format(versions=VERSIONS)]
    for library in MODULES:
        text += [f"\n## {library}\n", "| array | how | | why |", "|---|---|---|---|"]
        merged: dict[tuple[str, str, str, str], list[str]] = {}
        for entry in PAIRS:
            if entry.library == library:
                key = (entry.door, entry.outcome, entry.why, entry.deleted)
                merged.setdefault(key, []).append(entry.array)
        for (door, outcome, why, deleted), names in merged.items():
            which = (
                "every kind"
                if len(names) == len(SHAPES)
                else "; ".join(SHAPES[name] for name in names)
            )
            text.append(f"| {which}{DELETED[deleted]} | `{door}` | {outcome} | {why} |")
    return "\n".join(text) + "\n"


VERSIONS = "NumPy 2.4, pyarrow 26, Polars 2.1, DuckDB 2.0, pandas 3.1, PyTorch 2.15 and tvm-ffi"


def main() -> int:
    """Write the document."""
    Path(DOCUMENT).write_text(document())
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
