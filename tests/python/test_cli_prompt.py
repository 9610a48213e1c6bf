"""`numpack sql` at a terminal: the wheel's command in a pseudo terminal."""

import os
import re
import sys
import time
from pathlib import Path

import numpack
import numpy as np
import pytest
from terminal import CTRL_C, CTRL_D, ENTER, TAB, UP, Terminal

COMMAND = Path(sys.executable).parent / "numpack"
PROMPT = r"numpack> \r?\Z"
SLOW = (
    "SELECT count(*) FROM generate_series(1, 1000000) AS a "
    "JOIN generate_series(1, 1000000) AS b ON a.value * b.value < 0;"
)


@pytest.fixture
def store(path):
    with numpack.NumPack(path) as npk:
        npk.save({"embedding": np.eye(3, 8), "label": np.arange(3)})
    return path


@pytest.fixture
def state(tmp_path):
    """Where the history is kept."""
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def prompt(store, state):
    """A session that shows its first prompt."""
    with Terminal(COMMAND, "sql", store, **state) as terminal:
        terminal.expect(r"\.help")
        terminal.expect(PROMPT)
        yield terminal


def enter(prompt, line, pattern):
    """Types a line and waits for what it brings and the next prompt."""
    prompt.send(line + ENTER)
    found = prompt.expect(pattern)
    prompt.expect(PROMPT)
    return found


def test_a_statement_shows_its_rows_and_its_time(prompt):
    enter(prompt, "SELECT sum(label) AS total FROM self;", r"total\s+3\s+1 row in \d+\.\d{3} s")
    enter(prompt, "SELECT embedding FROM self;", r"\[1\.0, 0\.0, \.\.\. 8 values\][\s\S]*3 rows in")
    enter(prompt, "SELECT 1 AS a; SELECT 2 AS b;", r"a\s+1\s+1 row in .* s\s+b\s+2\s+1 row in")


def test_a_statement_may_take_several_lines(prompt):
    prompt.send("SELECT 'a;" + ENTER)
    prompt.send("b' AS text," + ENTER + "count(*) AS n" + ENTER)
    time.sleep(0.2)
    prompt.read(0.1)
    assert "row in" not in prompt.text
    enter(prompt, "FROM self -- no end yet;" + ENTER + ";", r"text\s+n\s+a;\\nb\s+3\s+1 row in")


def test_ctrl_d_leaves_with_0(prompt):
    prompt.send(CTRL_D)
    assert prompt.wait() == 0


@pytest.mark.parametrize("word", [".quit", "\\q", ".exit"])
def test_words_that_leave(prompt, word):
    prompt.send(word + ENTER)
    assert prompt.wait() == 0


def test_ctrl_c_clears_the_line(prompt):
    prompt.send("SELECT nonsense")
    prompt.expect("nonsense")
    prompt.send(CTRL_C)
    prompt.expect(PROMPT)
    # Also one of several lines.
    prompt.send("SELECT" + ENTER + "nonsense")
    prompt.expect("nonsense")
    prompt.send(CTRL_C)
    prompt.expect(PROMPT)
    enter(prompt, "SELECT 5 AS five;", r"five\s+5\s+1 row in")
    assert "error" not in prompt.text


def test_ctrl_c_stops_the_query_and_not_the_session(prompt):
    for _ in range(2):
        prompt.send(SLOW + ENTER)
        prompt.signals()
        time.sleep(0.5)
        prompt.send(CTRL_C)
        prompt.expect("error: interrupted", timeout=20)
        prompt.expect(PROMPT)
    enter(prompt, "SELECT 5 AS five;", r"five\s+5\s+1 row in")


def test_an_error_is_shown_and_the_session_goes_on(prompt):
    enter(prompt, "SELECT nope FROM self;", r"error: .*No field named nope.*\(hint: ")
    enter(prompt, ".nope", r"there is no command \.nope \(hint: \.help lists them\)")
    enter(prompt, "SELECT 5 AS five;", r"five\s+5\s+1 row in")


def test_tables_and_columns_are_listed(prompt):
    enter(prompt, ".tables", r"self[\s\S]*rows in")
    enter(prompt, ".schema", r"label +Int64[\s\S]*rows in")
    enter(prompt, ".schema label;", r"row_id[\s\S]*rows in")
    enter(prompt, ".help", r"Ctrl-C clears the line")


def test_tab_completes_keywords_tables_and_columns(prompt):
    for typed, completed in [
        ("sel", "SELECT"),
        (" lab", "label"),
        (", emb", "embedding"),
        (" fr", "FROM"),
    ]:
        prompt.send(typed + TAB)
        prompt.expect(re.escape(completed))
        prompt.send(" ")
    # Two names and a keyword are possible: one more letter decides.
    prompt.send("sel" + TAB + TAB)
    prompt.expect(r"self\s+SELECT")
    prompt.send("f" + TAB)
    enter(prompt, " LIMIT 2;", r"label +embedding[\s\S]*2 rows in")


def test_tab_lists_what_is_possible_and_knows_new_names(prompt, store):
    prompt.send("SELECT o" + TAB + TAB)
    prompt.expect(r"OFFSET\s+ON\s+OR")
    prompt.send(CTRL_C)
    prompt.expect(PROMPT)
    with numpack.NumPack(store) as npk:
        npk.save({"own name": np.arange(3)})
    enter(prompt, "SELECT 1 AS one;", "1 row in")
    prompt.send("SELECT own" + TAB)
    prompt.expect('SELECT "own name"')
    enter(prompt, " FROM self LIMIT 1;", r"own name\s+0\s+1 row in")


def test_history_outlives_the_session(prompt, store, state):
    enter(prompt, "SELECT 41 + 1 AS answer;", r"answer\s+42")
    prompt.send("SELECT" + ENTER)
    enter(prompt, "7 AS seven;", r"seven\s+7")
    enter(prompt, UP, r"seven\s+7\s+1 row in")
    prompt.send(CTRL_D)
    assert prompt.wait() == 0
    history = Path(state["XDG_STATE_HOME"]) / "numpack" / "history"
    assert "SELECT 41 + 1 AS answer;" in history.read_text()
    with Terminal(COMMAND, "sql", store, **state) as again:
        again.expect(PROMPT)
        enter(again, UP, r"seven\s+7\s+1 row in")
        # The statement of two lines is one entry.
        again.send(UP)
        again.expect("seven")
        # Up moves within its lines first.
        again.send(UP + UP)
        again.expect("answer")
        again.send(ENTER)
        again.expect(r"answer\s+42")


def test_a_session_without_a_place_for_its_history(store, tmp_path):
    home = tmp_path / "file"
    home.write_text("")
    with Terminal(COMMAND, "sql", store, XDG_STATE_HOME=str(home), HOME=str(home)) as terminal:
        terminal.expect(PROMPT)
        enter(terminal, "SELECT 5 AS five;", r"five\s+5\s+1 row in")


def test_commits_of_another_process_are_seen(prompt, store):
    enter(prompt, "SELECT count(*) AS n FROM label;", r"n\s+3\s")
    with numpack.NumPack(store) as npk:
        npk.append({"label": np.arange(2)})
        enter(prompt, "SELECT count(*) AS n FROM label;", r"n\s+5\s")


def test_formats_at_the_prompt(store, state):
    with Terminal(COMMAND, "sql", store, "--json", **state) as terminal:
        terminal.expect(PROMPT)
        enter(terminal, "SELECT 5 AS five;", r'\[\{"five":5\}\]\s+1 row in')


@pytest.mark.parametrize("options", [["-o", "rows.csv"], ["--format", "parquet"]])
def test_files_are_refused_at_the_prompt(store, state, tmp_path, options):
    with Terminal(COMMAND, "sql", store, *options, **state) as terminal:
        assert terminal.wait() == 2
        assert re.fullmatch(r"error: .* \(hint: .*\)\r\n", terminal.text)
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.parametrize(
    ("options", "environment", "colored"),
    [
        ([], {}, True),
        ([], {"NO_COLOR": ""}, True),
        ([], {"NO_COLOR": "1"}, False),
        (["--color", "never"], {}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
    ],
)
def test_terminals_are_colored(store, monkeypatch, options, environment, colored):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for command in (["ls", store], ["info", store, "none"]):
        with Terminal(COMMAND, *command, *options, **environment) as terminal:
            assert terminal.wait() == (0 if command[0] == "ls" else 1)
            assert ("\x1b[" in terminal.raw) == colored, terminal.raw


def test_long_work_shows_its_progress(path, tmp_path):
    np.save(tmp_path / "big.npy", np.zeros(40_000_000, np.uint8))
    with Terminal(COMMAND, "import", tmp_path / "big.npy", path) as terminal:
        assert terminal.wait() == 0
        assert re.search(r"\d+(\.\d+)? MiB/38\.\d+ MiB", terminal.text), terminal.text
        assert terminal.text.rstrip().endswith("imported big uint8 [40000000]")
    with Terminal(COMMAND, "export", path, os.devnull + "/x.npy") as terminal:
        assert terminal.wait() == 1
