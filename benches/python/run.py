"""Measures the store operations of this library beside its peers, interleaved round by round.

Run ``python benches/python/run.py --help``; ``benches/README.md`` says how to read the result.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import flatness
import machine
import output
import report
from inputs import Inputs
from peers import IN_PROCESS, Peer
from peers.remote import RemotePeer
from results import RowResult, Run
from workloads import MANY_CALLS, TABLE, Row

OWN_PEERS = ("numpack", "numpack_view", "numpack_reader")
#: A peer that has spent this long on a row after three rounds sits out the others.
PATIENCE_S = 10.0
ENOUGH_ROUNDS = 3


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="three rounds, no second reader and no held view; two or three minutes",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="NAME",
        choices=[row.key for row in TABLE] + ["flatness"],
        help="only these rows: " + ", ".join(row.key for row in TABLE) + ", flatness",
    )
    parser.add_argument("--rounds", type=int, help="rounds (default 7, quick 3)")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="where results go")
    parser.add_argument("--work", type=Path, help="where stores are written (default: temporary)")
    return parser.parse_args()


def gather_peers(run: Run, inputs: Inputs, root: Path) -> list[Peer | RemotePeer]:
    """Every peer whose package is at hand; this library is a must."""
    peers: list[Peer | RemotePeer] = []
    for module, name in IN_PROCESS:
        try:
            peer = getattr(importlib.import_module(module), name)
            if peer.key in OWN_PEERS[1:] and run.settings["quick"]:
                continue
            peers.append(peer(inputs, root))
        except ImportError as error:
            if module == "peers.numpack_":
                raise
            run.left_out[module.removeprefix("peers.")] = str(error)
    try:
        old = RemotePeer(inputs, root)
        run.versions[old.key] = old.versions()
        peers.insert(1, old)
    except Exception as error:
        run.left_out[RemotePeer.title] = str(error)
    for peer in peers:
        run.titles[peer.key] = peer.title
        if peer.key not in run.versions:
            run.versions[peer.key] = peer.versions() if peer.key not in OWN_PEERS[1:] else {}
    return peers


def measure(row: Row, peers: list, rounds: int, budget_ns: int) -> RowResult:
    """Time one row: every peer once a round, in an order that turns from round to round."""
    result = RowResult(row)
    samples: dict[str, list[int]] = {}

    def attempt(peer, action):
        try:
            return action()
        except Exception as error:
            result.failed[peer.key] = f"{type(error).__name__}: {error}"
            return None

    spent: dict[str, float] = defaultdict(float)
    active = [
        peer
        for peer in peers
        if attempt(peer, lambda p=peer: p.setup(row.key, row.style, rounds, MANY_CALLS, budget_ns))
    ]
    for number in range(rounds):
        turn = number % max(1, len(active))
        for peer in active[turn:] + active[:turn]:
            patient = number < ENOUGH_ROUNDS or spent[peer.key] < PATIENCE_S
            if peer.key not in result.failed and patient:
                start = time.monotonic()
                taken = attempt(peer, peer.round)
                spent[peer.key] += time.monotonic() - start
                samples.setdefault(peer.key, []).extend(taken or [])
    for peer in active:
        if peer.key not in result.failed:
            wrong = attempt(peer, peer.check)
            if peer.key not in result.failed:
                result.add(peer.key, samples[peer.key], wrong)
        attempt(peer, peer.finish)
    return result


def main() -> int:
    """Run, write the three files, and fail if a result of this library was wrong."""
    options = arguments()
    rounds = options.rounds or (3 if options.quick else 7)
    budget_ns = (2 if options.quick else 12) * 1_000_000_000
    wanted = [row for row in TABLE if not options.rows or row.key in options.rows]
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="numpack-bench-", dir=options.work))
    started = time.monotonic()
    run = Run(
        machine=machine.describe(root),
        settings={"rounds": rounds, "quick": options.quick, "budget_s": budget_ns / 1e9},
        titles={},
    )
    peers: list = []
    try:
        peers = gather_peers(run, Inputs(root / "data.npy"), root)
        for row in wanted:
            result = measure(row, peers, rounds, budget_ns)
            run.rows.append(result)
            print(report.line(run, result), flush=True)
            for peer in peers:
                shutil.rmtree(root / peer.key / row.key, ignore_errors=True)
        if not options.rows or "flatness" in options.rows:
            sizes = flatness.QUICK_SIZES if options.quick else flatness.SIZES
            counts = flatness.QUICK_COUNTS if options.quick else flatness.COUNTS
            run.by_size = flatness.by_size(root, sizes, rounds)
            run.by_count = flatness.by_count(root, counts, rounds)
    finally:
        for peer in peers:
            if isinstance(peer, RemotePeer):
                peer.close()
        shutil.rmtree(root, ignore_errors=True)
    output.finish(run, started)
    text = report.markdown(run)
    return output.write(run, options.out, "store", text, "plot", OWN_PEERS)


if __name__ == "__main__":
    machine.start_clean()
    sys.exit(main())
