"""Random queries over one relation, in words that NumPack's SQL and DuckDB's understand alike.

The relation has `id` (int64, unique), `label` (int32), `small` (int16, negative too), `byte`
(uint8), `flag` (bool), `x` (float64 with NaN, infinities, zeros of both signs), `score` (float32,
multiples of 1/8), `emb` (float32[4]) and `row_id`. Left out is what the two engines define
differently: `/` of integers, casts of floats to integers, overflow, rows in the order of equal
keys, and signs of NaN.
"""

import random

INTEGERS = ("id", "label", "small", "byte", "row_id")
FLOATS = ("x", "score")
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")


class Queries:
    """A stream of queries; the same seed gives the same ones."""

    def __init__(self, seed, rows):
        self.random = random.Random(seed)
        self.rows = rows

    def query(self):
        """One query, without an order of its rows unless that order is total."""
        make = self.random.choice(
            (
                self.filtered,
                self.filtered,
                self.ordered,
                self.grouped,
                self.grouped,
                self.total,
                self.joined,
                self.windowed,
                self.subquery,
                self.combined,
                self.vectors,
            )
        )
        return make()

    # --- expressions ---------------------------------------------------------------------------

    def integer(self, of=""):
        """An expression of integers that fits int64 whatever the rows hold."""
        choose = self.random
        column = f"{of}{choose.choice(INTEGERS)}"
        form = choose.randrange(6)
        if form == 0:
            return f"({column} + {choose.randint(-50, 50)})"
        if form == 1:
            return f"(CAST({column} AS BIGINT) * {choose.randint(-3, 3)})"
        if form == 2:
            return f"({column} % {choose.randint(2, 9)})"
        if form == 3:
            return f"abs({column})"
        if form == 4:
            return (
                f"CASE WHEN {self.predicate(of, 1)} THEN {column} ELSE {choose.randint(0, 9)} END"
            )
        return column

    def number(self, of=""):
        """An expression of integers or of doubles."""
        choose = self.random
        form = choose.randrange(5)
        if form == 0:
            return f"({of}x + {choose.randint(-4, 4)})"
        if form == 1:
            return f"(CAST({of}score AS DOUBLE) * {choose.randint(1, 4)})"
        if form == 2:
            return f"{of}{choose.choice(FLOATS)}"
        return self.integer(of)

    def literal(self, column):
        """A value that the column may well hold."""
        choose = self.random
        if column in ("id", "row_id"):
            return str(choose.randint(-2, self.rows + 2))
        if column == "score":
            return repr(choose.randint(-40, 40) / 8)
        if column == "x":
            special = ("CAST('NaN' AS DOUBLE)", "CAST('Infinity' AS DOUBLE)", "0.0", "-0.0")
            return choose.choice((*special, *[repr(choose.randint(-40, 40) / 4)] * 6))
        return str(choose.randint(-12, 30))

    def predicate(self, of="", depth=3):
        """A condition."""
        choose = self.random
        if depth and choose.random() < 0.5:
            word = choose.choice(("AND", "AND", "OR"))
            left, right = self.predicate(of, depth - 1), self.predicate(of, depth - 1)
            return f"({left} {word} {right})"
        form = choose.randrange(9)
        column = choose.choice(INTEGERS + FLOATS)
        if form == 0:
            return f"{of}flag"
        if form == 1:
            return f"NOT ({of}{column} < {self.literal(column)})"
        if form == 2:
            low, high = self.literal(column), self.literal(column)
            return f"{of}{column} BETWEEN {low} AND {high}"
        if form == 3:
            column = choose.choice(INTEGERS)
            values = ", ".join(self.literal(column) for _ in range(choose.randint(1, 6)))
            word = choose.choice(("IN", "IN", "NOT IN"))
            return f"{of}{column} {word} ({values})"
        if form == 4:
            first = choose.randint(0, self.rows)
            return f"{of}row_id >= {first} AND {of}row_id < {first + choose.randint(0, 200)}"
        if form == 5:
            left, right = choose.sample(INTEGERS, 2)
            return f"{of}{left} {choose.choice(COMPARISONS)} {of}{right}"
        return f"{of}{column} {choose.choice(COMPARISONS)} {self.literal(column)}"

    def where(self, of=""):
        """A WHERE clause, or none."""
        return f" WHERE {self.predicate(of)}" if self.random.random() < 0.8 else ""

    def aggregate(self, of=""):
        """An aggregate whose answer does not depend on the order of rows."""
        choose = self.random
        form = choose.randrange(8)
        if form == 0:
            return "count(*)"
        if form == 1:
            return f"count(DISTINCT {self.integer(of)})"
        if form == 2:
            return f"sum({self.integer(of)})"
        if form == 3:
            return f"avg(CAST({of}{choose.choice(('score', 'label', 'small'))} AS DOUBLE))"
        if form == 4:
            return f"sum({of}byte) FILTER (WHERE {self.predicate(of, 1)})"
        if form == 5:
            return f"bool_or({of}flag)"
        # Not of x: within groups DataFusion's min and max depend on where a NaN lies.
        return f"{choose.choice(('min', 'max'))}({of}{choose.choice((*INTEGERS, 'score'))})"

    # --- queries -------------------------------------------------------------------------------

    def columns(self, of=""):
        """A list of one to four expressions with names."""
        count = self.random.randint(1, 4)
        return ", ".join(f"{self.number(of)} AS c{index}" for index in range(count))

    def filtered(self):
        """Rows that a condition leaves."""
        if self.random.random() < 0.3:
            return f"SELECT *{self.except_vectors()} FROM self{self.where()}"
        return f"SELECT {self.columns()}, row_id FROM self{self.where()}"

    def except_vectors(self):
        """`*` without the vectors, now and then."""
        return self.random.choice(("", " EXCLUDE (emb)"))

    def ordered(self):
        """The first rows of a total order."""
        choose = self.random
        key = choose.choice(("row_id", "id", "label {0}, id", "byte {0}, row_id", "score {0}, id"))
        key = key.format(choose.choice(("ASC", "DESC")))
        direction = choose.choice(("ASC", "DESC"))
        limit = f" LIMIT {choose.randint(0, 40)}" if choose.random() < 0.8 else ""
        offset = f" OFFSET {choose.randint(0, 30)}" if choose.random() < 0.3 else ""
        columns = self.columns()
        rows = f"FROM self{self.where()} ORDER BY {key} {direction}{limit}{offset}"
        return f"SELECT {columns}, id {rows}"

    def grouped(self):
        """Aggregates by one or two keys."""
        choose = self.random
        keys = choose.sample(("label", "byte", "flag", "small % 5", "score", "id % 7"), 2)
        keys = keys[: choose.randint(1, 2)]
        names = ", ".join(f"{key} AS k{index}" for index, key in enumerate(keys))
        found = ", ".join(f"{self.aggregate()} AS a{index}" for index in range(3))
        having = f" HAVING count(*) > {choose.randint(0, 5)}" if choose.random() < 0.4 else ""
        return f"SELECT {names}, {found} FROM self{self.where()} GROUP BY {', '.join(keys)}{having}"

    def total(self):
        """Aggregates of everything."""
        found = ", ".join(f"{self.aggregate()} AS a{index}" for index in range(4))
        return f"SELECT {found} FROM self{self.where()}"

    def joined(self):
        """The relation with itself."""
        choose = self.random
        kind = choose.choice(("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"))
        key = choose.choice(
            ("a.id = b.row_id", "a.row_id = b.id", "a.id = b.id AND a.flag = b.flag")
        )
        left = f"(SELECT * FROM self WHERE {self.predicate()}) AS a"
        right = f"(SELECT * FROM self WHERE {self.predicate()}) AS b"
        columns = "a.id AS left_id, b.id AS right_id, a.label AS l, b.score AS s"
        return f"SELECT {columns} FROM {left} {kind} {right} ON {key}"

    def windowed(self):
        """Numbers within windows."""
        choose = self.random
        part = choose.choice(("", "PARTITION BY label ", "PARTITION BY flag "))
        order = f"({part}ORDER BY id)"
        frame = f"({part}ORDER BY id ROWS BETWEEN {choose.randint(0, 5)} PRECEDING AND CURRENT ROW)"
        found = (
            f"row_number() OVER {order} AS w0, sum(small) OVER {frame} AS w1, "
            f"lag(byte, {choose.randint(1, 3)}) OVER {order} AS w2, max(label) OVER {frame} AS w3"
        )
        return f"SELECT id, {found} FROM self{self.where()}"

    def subquery(self):
        """Conditions on other rows."""
        choose = self.random
        key, other = choose.choice((("id", "row_id"), ("label", "byte"), ("byte", "small")))
        inner = f"SELECT {other} FROM self WHERE {self.predicate()}"
        form = choose.randrange(5)
        if form == 0:
            return f"SELECT id FROM self WHERE {key} IN ({inner})"
        if form == 1:
            return f"SELECT id FROM self WHERE {key} NOT IN ({inner})"
        if form == 2:
            exists = choose.choice(("EXISTS", "NOT EXISTS"))
            condition = f"b.{other} = a.{key} AND {self.predicate('b.', 1)}"
            inner = f"SELECT 1 FROM self AS b WHERE {condition}"
            return f"SELECT a.id FROM self AS a WHERE {exists} ({inner})"
        if form == 3:
            return (
                f"SELECT id FROM self WHERE {key} > (SELECT avg(CAST({other} AS DOUBLE)) FROM self)"
            )
        return (
            f"WITH part AS (SELECT label, count(*) AS n, max(id) AS top FROM self{self.where()} "
            f"GROUP BY label) SELECT self.id, part.n FROM self JOIN part ON self.id = part.top"
        )

    def combined(self):
        """Two results put together."""
        word = self.random.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT"))
        left, right = (f"SELECT label, byte FROM self{self.where()}" for _ in range(2))
        return f"{left} {word} {right}"

    def vectors(self):
        """Values of vectors, and distances."""
        choose = self.random
        item = choose.choice((1, 2, 3, 4))
        form = choose.randrange(4)
        if form == 0:
            return f"SELECT id, emb[{item}] AS v FROM self{self.where()}"
        if form == 1:
            found = f"avg(CAST(emb[{item}] AS DOUBLE)) AS v, count(*) AS n"
            return f"SELECT {found} FROM self{self.where()}"
        if form == 2:
            return f"SELECT id FROM self WHERE emb[{item}] > {choose.randint(-8, 8) / 4}"
        query = [choose.randint(-8, 8) / 4 for _ in range(4)]
        limit = choose.randint(1, 20)
        return (
            f"SELECT id, {{distance}}(emb, {query}{{cast}}) AS d FROM self{self.where()} "
            f"ORDER BY d, id LIMIT {limit}"
        )
