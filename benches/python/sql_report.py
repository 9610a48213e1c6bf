"""Writes a run of the SQL benchmark as Markdown."""

from __future__ import annotations

from report import (
    OWN,
    figure,
    machine_lines,
    ratios,
    series_table,
    table,
    target_cells,
    told,
    troubles,
)
from results import RowResult, Run


def markdown(run: Run) -> str:
    """The whole report."""
    parts = [
        "# SQL\n",
        "1,000,000 rows of id int64, label int32 (100 values), score float32, emb float32[128] "
        "(512 MB; float32[16] for statements that change rows), warm; milliseconds a statement, "
        "planning and fetching the answer included, median.\n",
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
    return told(run, result, figures)


def _times(run: Run) -> str:
    heads = ["question", *run.titles.values(), "target", "bound here", ""]
    body = []
    for result in run.rows:
        cells = [result.row.title, *(figure(result, peer) for peer in run.titles)]
        body.append(cells + target_cells(run, result))
    return table(heads, body)


def _ratios(run: Run) -> str:
    others = [peer for peer in run.titles if peer != OWN]
    body = [[result.row.title, *ratios(result, others)] for result in run.rows]
    return table(["question", *(run.titles[peer] for peer in others)], body)


def _notes(run: Run) -> str:
    missing = "† gave a wrong result; - has no such question."
    return f"{missing} A target in milliseconds is scaled by what the same peers take here.\n"
