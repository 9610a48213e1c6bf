"""What the SQL benchmark asks about: four columns, and the answers as NumPy gives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

#: Values that `label` has.
LABELS = 100
#: Values of a vector.
WIDTH = 128
#: Neighbours that are asked for.
NEAREST = 10
#: Vectors that are asked for at once.
QUERIES = 100


@dataclass
class Columns:
    """`id` int64, `label` int32, `score` float32 and `emb` float32[128], `rows` of each."""

    rows: int
    arrays: dict[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(2)
        self.arrays = {
            "id": np.arange(self.rows, dtype=np.int64),
            "label": rng.integers(0, LABELS, self.rows, dtype=np.int32),
            "score": rng.random(self.rows, dtype=np.float32),
            "emb": rng.standard_normal((self.rows, WIDTH), dtype=np.float32),
        }

    @cached_property
    def query(self) -> np.ndarray:
        """The vector whose neighbours are asked for."""
        return self.queries[0]

    @cached_property
    def queries(self) -> np.ndarray:
        """Many of them."""
        rng = np.random.default_rng(3)
        return rng.standard_normal((QUERIES, WIDTH), dtype=np.float32)

    @cached_property
    def first(self) -> int:
        """First of the hundred ids that a range asks for."""
        return self.rows // 2

    def nearest(self, query: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Ids of the nearest rows by l2, nearest first, in float64."""
        ids = np.arange(self.rows) if mask is None else np.flatnonzero(mask)
        squares = np.empty(len(ids))
        for start in range(0, len(ids), 100_000):
            part = slice(start, start + 100_000)
            difference = self.arrays["emb"][ids[part]].astype(np.float64) - query
            squares[part] = np.einsum("ij,ij->i", difference, difference)
        best = np.argpartition(squares, NEAREST)[:NEAREST]
        return ids[best[np.argsort(squares[best], kind="stable")]]
