"""Random statements that change the tables `t` and `u`, in words that NumPack and DuckDB share.

Both have `id` (int64, unique, growing from row to row, never updated), `k` (int32, small), `x`
(float64), `flag` (bool) and `emb` (float32[3]). Every value is a multiple of 1/8 that stays small,
so that no order of additions and no cast rounds.
"""

import random


class Changes:
    """A stream of statements; the same seed gives the same ones."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.next_id = 1

    def statement(self):
        """One INSERT, UPDATE, DELETE, MERGE or, rarely, TRUNCATE."""
        makes = [self.update] * 8 + [self.insert] * 5 + [self.delete] * 4 + [self.merge] * 2
        if self.random.random() < 0.01:
            return f"TRUNCATE TABLE {self.table()}"
        return self.random.choice(makes)()

    def table(self):
        return self.random.choice("tttu")

    def ids(self, count):
        first, self.next_id = self.next_id, self.next_id + count
        return range(first, first + count)

    # --- statements ----------------------------------------------------------------------------

    def insert(self):
        table, choose = self.table(), self.random
        if choose.random() < 0.5:
            rows = [self.row(number) for number in self.ids(choose.randint(1, 4))]
            names = list(rows[0])
            listed = ""
            if choose.random() < 0.5:
                choose.shuffle(names)
                listed = f" ({', '.join(names)})"
            values = ", ".join(f"({', '.join(row[name] for name in names)})" for row in rows)
            return f"INSERT INTO {table}{listed} VALUES {values}"
        # The ids of the new rows go on in the order of the old ones, below a hundred of them.
        source, first = self.table(), self.ids(100)[0]
        return (
            f"INSERT INTO {table} (id, flag, x, emb, k) "
            f"SELECT {first} + n, flag, {self.value('x')}, emb, {self.value('k')} FROM "
            f"(SELECT *, row_number() OVER (ORDER BY id) - 1 AS n FROM {source} "
            f"WHERE {self.predicate(source)}) AS s WHERE n < {choose.randint(1, 100)} ORDER BY id"
        )

    def row(self, number):
        choose = self.random
        return {
            "id": str(number),
            "k": str(choose.randint(-9, 9)),
            "x": self.eighths(),
            "flag": choose.choice(("true", "false")),
            "emb": f"[{self.eighths()}, {self.eighths()}, {self.eighths()}]",
        }

    def update(self):
        table, choose = self.table(), self.random
        names = choose.sample(("k", "x", "flag", "emb"), choose.randint(1, 3))
        sets = ", ".join(f"{name} = {self.value(name)}" for name in names)
        where = "" if choose.random() < 0.1 else f" WHERE {self.predicate(table)}"
        return f"UPDATE {table} SET {sets}{where}"

    def delete(self):
        table = self.table()
        narrow = f" AND id % {self.random.randint(2, 4)} = 0"
        return f"DELETE FROM {table} WHERE ({self.predicate(table)}){narrow}"

    def merge(self):
        choose = self.random
        first = self.ids(1000)[0]
        clauses = []
        if choose.random() < 0.7:
            clauses.append(
                f"WHEN MATCHED AND s.k > {choose.randint(-5, 5)} THEN UPDATE SET x = s.x"
            )
        if choose.random() < 0.5:
            clauses.append("WHEN MATCHED AND s.flag THEN DELETE")
        if choose.random() < 0.5 or not clauses:
            clauses.append(
                "WHEN NOT MATCHED THEN INSERT (id, k, x, flag, emb) "
                "VALUES (s.fresh, s.k, s.x, s.flag, s.emb)"
            )
        source = (
            f"(SELECT *, {first} + row_number() OVER (ORDER BY id) - 1 AS fresh FROM u "
            f"WHERE {self.predicate('u')} ORDER BY id LIMIT 1000)"
        )
        return f"MERGE INTO t USING {source} AS s ON t.id = s.id {' '.join(clauses)}"

    # --- expressions ---------------------------------------------------------------------------

    def eighths(self):
        return f"{self.random.randint(-80, 80) / 8!r}"

    def value(self, name):
        """What a column may be set to: it stays small."""
        choose = self.random
        if name == "k":
            return choose.choice(
                (f"{choose.randint(-9, 9)}", "-k", f"(k + {choose.randint(1, 5)}) % 10")
            )
        if name == "x":
            other = self.table()
            return choose.choice(
                (
                    self.eighths(),
                    "-x",
                    "k + 0.5",
                    "CASE WHEN flag THEN x ELSE 0.125 END",
                    f"(SELECT coalesce(max(k), 0) FROM {other})",
                    f"(SELECT coalesce(min(x), 1) FROM {other} WHERE {self.simple()})",
                )
            )
        if name == "flag":
            return choose.choice(("true", "false", "NOT flag", "k > 0", "x < 1"))
        return f"[{self.eighths()}, {self.eighths()}, {self.eighths()}]"

    def predicate(self, table, depth=2):
        choose = self.random
        form = choose.randrange(9 if depth else 4)
        if form < 4:
            return self.simple()
        if form == 4:
            word = choose.choice(("AND", "OR"))
            return f"({self.predicate(table, depth - 1)} {word} {self.predicate(table, depth - 1)})"
        if form == 5:
            return f"NOT ({self.predicate(table, depth - 1)})"
        word = choose.choice(("", "NOT "))
        other = self.table()
        inner = self.simple("q.")
        if form == 6:
            return f"k {word}IN (SELECT q.k FROM {other} AS q WHERE {inner})"
        if form == 7:
            outer = f"{table}.id % 7" if table else "id % 7"
            return f"{word}EXISTS (SELECT 1 FROM {other} AS q WHERE q.k = {outer} AND {inner})"
        return f"x > (SELECT max(q.x) - 5 FROM {other} AS q WHERE {inner})"

    def simple(self, of=""):
        choose = self.random
        number = choose.randint(-9, 9)
        return choose.choice(
            (
                f"{of}k {choose.choice(('=', '<>', '<', '>='))} {number}",
                f"{of}x {choose.choice(('<', '>'))} {self.eighths()}",
                f"{of}k IN ({number}, {number + 2}, NULL)",
                f"{of}id % {choose.randint(2, 9)} = {choose.randint(0, 3)}",
                f"{of}id BETWEEN {number * 20} AND {number * 20 + 200}",
                f"{of}flag",
                f"{of}emb[{choose.randint(1, 3)}] > {self.eighths()}",
                f"{of}x IS NULL",
                f"{of}k > NULL",
                "false" if choose.random() < 0.3 else f"{of}k < 5",
            )
        )
