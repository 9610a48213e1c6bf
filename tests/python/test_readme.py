"""README.md's Python examples run as one script, from the first to the last."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_examples_run_in_order(tmp_path, monkeypatch, capsys):
    text = README.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for block in blocks:
        # Blank lines in front, so that a traceback names the line of README.md.
        above = text.count("\n", 0, block.start(1))
        exec(compile("\n" * above + block[1], str(README), "exec"), namespace)
    assert "label" in capsys.readouterr().out
