"""Measures SQL over a store beside its peers: the same questions over the same four columns.

Run ``python benches/python/sql_run.py --help``; ``benches/README.md`` says how to read the result.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import machine
import numpy as np
import output
import sql_changes
import sql_report
from flatness import Series
from results import Run
from run import measure
from sql_inputs import WIDTH, Columns
from sql_peers import PEERS, NumPackSql, SqlPeer
from sql_workloads import QUICK_SIZES, ROWS, SIZES, SQL_TABLE
from workloads import Row

#: Questions whose growth is drawn.
GROWTH = ("count_where", "grouped", "vectors_where", "range_row_id", "avg_item", "nearest")
BUDGET_NS = 4_000_000_000


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    keys = [row.key for row in (*SQL_TABLE, *sql_changes.TABLE)]
    parser.add_argument("--quick", action="store_true", help="three rounds and a short growth")
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="NAME",
        choices=[*keys, "growth"],
        help="only these rows: " + ", ".join([*keys, "growth"]),
    )
    titles = sorted({peer.key for peer in (*PEERS, *sql_changes.PEERS)})
    parser.add_argument(
        "--peers", nargs="+", metavar="NAME", choices=titles, help=f"only: {', '.join(titles)}"
    )
    parser.add_argument("--rounds", type=int, help="rounds (default 7, quick 3)")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="where results go")
    parser.add_argument("--work", type=Path, help="where stores are written (default: temporary)")
    return parser.parse_args()


def bandwidth(columns: Columns) -> str:
    """How fast two threads read the vectors: the floor of every question about all of them."""
    words = columns.arrays["emb"].reshape(-1).view(np.int64)
    halves = np.array_split(words, 2)
    best = float("inf")
    with ThreadPoolExecutor(2) as pool:
        for _ in range(7):
            start = time.perf_counter()
            list(pool.map(np.bitwise_xor.reduce, halves))
            best = min(best, time.perf_counter() - start)
    speed = f"{words.nbytes / best / 1e9:.1f} GB/s with two threads"
    return f"{speed}, {best * 1e3:.1f} ms for all vectors"


def growth(root: Path, sizes: tuple[int, ...], rounds: int) -> list[Series]:
    """The questions over growing numbers of values, this library alone."""
    series = {key: Series(_title(key), {}, {}) for key in GROWTH}
    for size in sizes:
        columns = Columns(max(200, size // WIDTH))
        peer = NumPackSql(columns, root / f"growth{size}")
        label = f"10^{len(str(size)) - 1}"
        for key in GROWTH:
            row = next(row for row in SQL_TABLE if row.key == key)
            result = measure(row, [peer], rounds, BUDGET_NS)
            if peer.key in result.failed:
                series[key].wrong[label] = result.failed[peer.key]
                continue
            measured = result.peers[peer.key]
            series[key].samples[label] = measured.samples
            if measured.wrong:
                series[key].wrong[label] = measured.wrong
        peer.npk.close()
    return list(series.values())


def _title(key: str) -> str:
    return next(row.title for row in SQL_TABLE if row.key == key)


def gather_peers(
    run: Run,
    kinds: Sequence[type[SqlPeer]],
    columns: Columns,
    root: Path,
    wanted: list[str] | None,
) -> list[SqlPeer]:
    """Every peer whose package is at hand; this library is a must."""
    peers: list[SqlPeer] = []
    for kind in kinds:
        if wanted is not None and kind.key not in wanted:
            continue
        try:
            peer = kind(columns, root)
        except ImportError as error:
            if kind.key == NumPackSql.key:
                raise
            run.left_out[kind.title] = str(error)
            continue
        peers.append(peer)
        run.titles.setdefault(peer.key, peer.title)
        run.versions[peer.key] = peer.versions()
    return peers


def main() -> int:
    """Run, write the three files, and fail if an answer of this library was wrong."""
    options = arguments()
    rounds = options.rounds or (3 if options.quick else 7)
    root = Path(tempfile.mkdtemp(prefix="numpack-sql-bench-", dir=options.work))
    started = time.monotonic()
    run = Run(
        machine=machine.describe(root),
        settings={"rounds": rounds, "quick": options.quick, "budget_s": BUDGET_NS / 1e9},
        titles={},
    )

    def table(rows: Sequence[Row], kinds: Sequence[type[SqlPeer]], columns: Columns, at: Path):
        peers = gather_peers(run, kinds, columns, at, options.peers)
        for row in rows:
            result = measure(row, list(peers), rounds, BUDGET_NS)
            run.rows.append(result)
            print(sql_report.line(run, result), flush=True)

    def wanted(rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if not options.rows or row.key in options.rows]

    try:
        if rows := wanted(SQL_TABLE):
            columns = Columns(ROWS)
            run.machine["memory bandwidth"] = bandwidth(columns)
            table(rows, PEERS, columns, root / "questions")
            run.machine["memory bandwidth at end"] = bandwidth(columns)
        if rows := wanted(sql_changes.TABLE):
            table(rows, sql_changes.PEERS, sql_changes.Narrow(ROWS), root / "changes")
        if not options.rows or "growth" in options.rows:
            sizes = QUICK_SIZES if options.quick else SIZES
            run.by_size = growth(root, sizes, min(rounds, 3))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    output.finish(run, started)
    text = sql_report.markdown(run)
    return output.write(run, options.out, "sql", text, "sql_plot", (NumPackSql.key,))


if __name__ == "__main__":
    machine.start_clean()
    sys.exit(main())
