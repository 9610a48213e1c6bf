"""The second process: reads an array of a store without pause until it is killed.

Usage: ``reader.py STORE ARRAY``. Prints ``ready`` after the first read.
"""

from __future__ import annotations

import random
import sys

import numpack

ROWS = 1_000


def main(path: str, name: str) -> None:
    """Read 1,000 rows at a random place again and again, from the newest snapshot each time."""
    choose = random.Random(1)
    told = False
    with numpack.NumPack(path, mode="r") as npk:
        while True:
            lazy = npk.load(name, lazy=True)
            start = choose.randrange(max(1, len(lazy) - ROWS))
            rows = npk.getitem(name, slice(start, start + ROWS))
            if rows.ndim != len(lazy.shape):
                sys.exit(f"read shape {rows.shape} from an array of shape {lazy.shape}")
            if not told:
                print("ready", flush=True)
                told = True


if __name__ == "__main__":
    main(*sys.argv[1:])
