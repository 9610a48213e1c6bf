"""Writes a run as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from flatness import Series
from results import RowResult, Run
from timing import quantile

OWN = "numpack"
#: Peers of the first table, with a column of ratios each.
MAIN = ("npy", "memmap", "numpack042")
#: Peers that only some rows know.
SIDE = ("numpy", "h5py", "zarr", "arrow_ipc")
#: This library under harder conditions.
CONDITIONS = ("numpack_view", "numpack_reader")


def markdown(run: Run) -> str:
    """The whole report."""
    parts = [
        "# Store operations\n",
        "1,000,000 x 10 float32 (38 MB), store already open, warm page cache; milliseconds a call, "
        "median unless the row says mean.\n",
        machine_lines(run),
    ]
    if run.rows:
        parts += _comparison(run)
    if run.by_size:
        parts += ["## By size of the array\n", series_table(run.by_size)]
    if run.by_count:
        parts += ["## By number of arrays\n", series_table(run.by_count)]
    parts += troubles(run)
    return "\n".join(parts)


def _comparison(run: Run) -> list[str]:
    return [
        "## Against the peers of the same run\n",
        _main_table(run),
        "Ratios are ours by theirs: below 1 is faster. † gave a wrong result. A target in "
        "milliseconds was set on another machine; the bound here is scaled by what the same peers "
        "take here, and *met (scaled)* holds against that bound only.\n",
        _met(run),
        "## Other formats\n",
        _peer_table(run, SIDE),
        "## With a view held, and with a second process reading\n",
        _peer_table(run, CONDITIONS),
        "## Spread\n",
        _spread(run),
    ]


def to_json(run: Run) -> str:
    """Everything, with all samples in nanoseconds."""

    def series(items: Iterable[Series]) -> list[dict]:
        return [asdict(item) for item in items]

    rows = []
    for result in run.rows:
        judged = verdict(run, result)
        rows.append(
            {
                "key": result.row.key,
                "title": result.row.title,
                "style": result.row.style.value,
                "target": None if judged is None else asdict(judged),
                "peers": {peer: asdict(measured) for peer, measured in result.peers.items()},
                "failed": result.failed,
            }
        )
    document = {
        "machine": run.machine,
        "settings": run.settings,
        "versions": run.versions,
        "left_out": run.left_out,
        "rows": rows,
        "by_size": series(run.by_size),
        "by_count": series(run.by_count),
    }
    return json.dumps(document) + "\n"


def line(run: Run, result: RowResult) -> str:
    """One row for the terminal, while the run goes on."""
    figures = [
        f"{run.titles[peer]} {milliseconds(result.value(peer))}{_mark(result, peer)}"
        for peer in (OWN, *MAIN, *SIDE)
        if peer in result.peers
    ]
    return told(run, result, figures)


def told(run: Run, result: RowResult, figures: Sequence[str]) -> str:
    """A row's figures and how its target was judged, in one line."""
    judged = verdict(run, result)
    wanted = "" if judged is None else f" | {judged.text}: {judged.met}"
    return f"{result.row.title}: {', '.join(figures)}{wanted}"


def milliseconds(seconds: float | None) -> str:
    """Three significant digits, without an exponent."""
    if seconds is None:
        return "-"
    value = seconds * 1e3
    for limit, digits in ((100, 0), (10, 1), (1, 2), (0.1, 3), (0.01, 4)):
        if value >= limit:
            return f"{value:.{digits}f}"
    return f"{value:.5f}"


def machine_lines(run: Run) -> str:
    lines = [f"- {key}: {value}" for key, value in run.machine.items()]
    for peer, versions in run.versions.items():
        if versions:
            listed = ", ".join(f"{name} {version}" for name, version in versions.items())
            lines.append(f"- {run.titles[peer]}: {listed}")
    lines += [f"- {peer}: left out, {why}" for peer, why in run.left_out.items()]
    lines.append(f"- rounds: {run.settings['rounds']}, peers interleaved in each")
    return "\n".join(lines) + "\n"


def _main_table(run: Run) -> str:
    heads = ["operation", run.titles[OWN], *(run.titles.get(peer, peer) for peer in MAIN)]
    heads += [f"/ {run.titles.get(peer, peer)}" for peer in MAIN]
    heads += ["target", "bound here", ""]
    body = []
    for result in run.rows:
        cells = [result.row.title, figure(result, OWN), *(figure(result, p) for p in MAIN)]
        cells += ratios(result, MAIN)
        body.append(cells + target_cells(run, result))
    return table(heads, body)


def target_cells(run: Run, result: RowResult) -> list[str]:
    """The last three cells of a row: its target, the bound here, and whether it is met."""
    judged = verdict(run, result)
    if judged is None:
        return ["report", "", ""]
    return [judged.text, milliseconds(judged.bound), judged.met]


def ratios(result: RowResult, peers: Sequence[str]) -> list[str]:
    """Our figure by each peer's."""
    own, theirs = result.value(OWN), [result.value(peer) for peer in peers]
    return ["-" if own is None or value is None else f"{own / value:.2g}" for value in theirs]


def _met(run: Run) -> str:
    verdicts = [found for result in run.rows if (found := verdict(run, result)) is not None]
    met = sum(found.met == "met" for found in verdicts)
    scaled = sum(found.met == "met (scaled)" for found in verdicts)
    missed = sum(found.met == "not met" for found in verdicts)
    unknown = len(verdicts) - met - scaled - missed
    return f"Targets: {met} met, {scaled} met (scaled), {missed} not met, {unknown} not judged.\n"


def _peer_table(run: Run, peers: Sequence[str]) -> str:
    present = [peer for peer in peers if peer in run.titles]
    body = [
        [result.row.title, figure(result, OWN), *(figure(result, peer) for peer in present)]
        for result in run.rows
        if any(peer in result.peers or peer in result.failed for peer in present)
    ]
    return table(["operation", run.titles[OWN], *(run.titles[peer] for peer in present)], body)


def _spread(run: Run) -> str:
    body = []
    for result in run.rows:
        for peer, measured in result.peers.items():
            if peer not in (OWN, *MAIN):
                continue
            stats = measured.stats
            figures = [stats.minimum, stats.median, stats.mean]
            figures += [stats.tail.get(name) for name in ("p99", "p99.9", "max")]
            cells = [milliseconds(figure) for figure in figures]
            body.append([result.row.title, run.titles[peer], f"{stats.count:,}", *cells])
    heads = ["operation", "", "samples", "min", "median", "mean", "p99", "p99.9", "max"]
    return table(heads, body)


def series_table(items: Sequence[Series]) -> str:
    labels = max((list(item.samples) for item in items), key=len)
    body = []
    for item in items:
        if len(item.samples) < len(labels):
            continue  # it failed: said below
        medians = [quantile(sorted(item.samples[label]), 0.5) for label in labels]
        growth = f"{medians[-1] / medians[0]:.2f}"
        body.append([item.operation, *(milliseconds(median) for median in medians), growth])
    return table(["operation", *labels, "last / first"], body)


def troubles(run: Run) -> list[str]:
    found: dict[str, list[str]] = {}
    for result in run.rows:
        for peer, why in result.failed.items():
            found.setdefault(f"{run.titles[peer]} failed: {why}", []).append(result.row.title)
        for peer, measured in result.peers.items():
            if measured.wrong:
                text = f"{run.titles[peer]} gave a wrong result: {measured.wrong}"
                found.setdefault(text, []).append(result.row.title)
    for series in [*run.by_size, *run.by_count]:
        for label, why in series.wrong.items():
            text = f"{run.titles[OWN]} gave a wrong result: {why}"
            found.setdefault(text, []).append(f"{series.operation} at {label}")
    if not found:
        return []
    lines = [f"- {text} ({'; '.join(places)})" for text, places in found.items()]
    return ["## Failures and wrong results\n", *lines, ""]


def verdict(run: Run, result: RowResult):
    own = result.value(OWN)
    if result.row.target is None or own is None:
        return None
    return result.row.target.judge(own, result.values(), run.titles)


def figure(result: RowResult, peer: str) -> str:
    if peer in result.failed:
        return "failed"
    return milliseconds(result.value(peer)) + _mark(result, peer)


def _mark(result: RowResult, peer: str) -> str:
    measured = result.peers.get(peer)
    return " †" if measured is not None and measured.wrong else ""


def table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in body]
    return "\n".join(lines) + "\n"
