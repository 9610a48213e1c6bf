"""The rows of the SQL benchmark: the question, and which figure is wanted."""

from __future__ import annotations

from timing import Style
from workloads import Row, Target, share, within

#: Rows of the table that is asked.
ROWS = 1_000_000
#: Numbers of values in all vectors, for the growth series.
SIZES = (100_000, 1_000_000, 10_000_000, 100_000_000)
QUICK_SIZES = (100_000, 10_000_000)


def _row(key: str, title: str, target: Target | None = None) -> Row:
    return Row(key, title, Style.EACH, target)


SQL_TABLE = (
    _row("count_all", "count(*)", within(0.5, duckdb=2.1, polars=0.9, datafusion=1.9)),
    _row("grouped", "label, count, avg(score) by label", share("datafusion")),
    _row(
        "count_where",
        "count where score > 0.99",
        within(1.5, duckdb=4.8, polars=1.3, datafusion=4.7, numpy=0.46),
    ),
    _row(
        "vectors_where",
        "id, emb where score > 0.999 (1,000 vectors)",
        within(2.5, duckdb=7.0, polars=2.1, datafusion=6.5, numpy=1.4),
    ),
    _row(
        "range_row_id", "100 rows by row_id range", within(0.7, duckdb=2.6, polars=1.5, numpy=1.8)
    ),
    _row("range_id", "100 rows by id range", within(2.0, duckdb=2.6, polars=1.5, numpy=1.8)),
    _row(
        "avg_item",
        "avg(emb[6])",
        within(5.0, duckdb=84.0, polars=6.6, datafusion=19.0, numpy=4.6),
    ),
    _row(
        "nearest",
        "10 nearest by l2",
        within(18.0, numpy=99.0, faiss=46.0, duckdb=153.0, datafusion=478.0),
    ),
    _row("nearest_where", "10 nearest by l2 where label = 3"),
    _row("nearest_many", "10 nearest by l2 of 100 vectors at once"),
)
