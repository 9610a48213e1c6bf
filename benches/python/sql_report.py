"""Writes a run of the SQL benchmark as Markdown."""

from __future__ import annotations

from report import OWN, figure, machine_lines, milliseconds, series_table, table, troubles, verdict
from results import RowResult, Run


def markdown(run: Run) -> str:
    """The whole report."""
    parts = [
        "# SQL\n",
        "1,000,000 rows of id int64, label int32 (100 values), score float32, emb float32[128] "
        "(512 MB), warm; milliseconds a statement, planning and fetching the answer included, "
        "median.\n",
        machine_lines(run),
    ]
    if run.rows:
        parts += ["## Against the peers of the same run\n", _times(run), _notes(run)]
        parts += ["## Ratios: ours by theirs\n", _ratios(run)]
    if run.by_size:
        parts += ["## By number of values in all vectors\n", series_table(run.by_size)]
    parts += troubles(run)
    return "\n".join(parts)


def line(run: Run, result: RowResult) -> str:
    """One row for the terminal, while the run goes on."""
    figures = [
        f"{title} {figure(result, peer)}"
        for peer, title in run.titles.items()
        if peer in result.peers or peer in result.failed
    ]
    judged = verdict(run, result)
    wanted = "" if judged is None else f" | {judged.text}: {judged.met}"
    return f"{result.row.title}: {', '.join(figures)}{wanted}"


def _times(run: Run) -> str:
    heads = ["question", *run.titles.values(), "target", "bound here", ""]
    body = []
    for result in run.rows:
        cells = [result.row.title, *(figure(result, peer) for peer in run.titles)]
        judged = verdict(run, result)
        if judged is None:
            cells += ["report", "", ""]
        else:
            cells += [judged.text, milliseconds(judged.bound), judged.met]
        body.append(cells)
    return table(heads, body)


def _ratios(run: Run) -> str:
    others = [peer for peer in run.titles if peer != OWN]
    body = []
    for result in run.rows:
        own = result.value(OWN)
        cells = [result.row.title]
        for peer in others:
            theirs = result.value(peer)
            cells.append("-" if own is None or theirs is None else f"{own / theirs:.2g}")
        body.append(cells)
    return table(["question", *(run.titles[peer] for peer in others)], body)


def _notes(run: Run) -> str:
    missing = "† gave a wrong result; - has no such question."
    return f"{missing} A target in milliseconds is scaled by what the same peers take here.\n"
