"""Every example runs: README.md, docs, docstrings, examples/."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpack
import numpy as np
import pytest
from support import ROOT

BLOCK = re.compile(r"^```(python|console)[^\n]*\n(.*?)^```", re.M | re.S)
# A command behind `$ ` and what it prints, errors included; `...` stands for what differs.
COMMAND = re.compile(r"^\$ ([^\n]*\n)((?:[^$\n][^\n]*\n|\n)*)", re.M)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = {path: path.read_text() for path in sorted((ROOT / "examples").glob("*.py"))}
# A script that another one starts is a part of that one.
EXAMPLES = [
    path
    for path in SCRIPTS
    if not any(path.name in text for other, text in SCRIPTS.items() if other != path)
]


def blocks(document):
    """Language and text of the blocks of a document, behind as many newlines as before."""
    text = document.read_text()
    for found in BLOCK.finditer(text):
        yield found[1], "\n" * text.count("\n", 0, found.start(2)) + found[2]


def run_commands(block):
    """Compares what the commands of a block print with what stands there."""
    commands = COMMAND.findall(block)
    assert len(commands) == block.count("\n$ ")
    for command, expected in commands:
        environment = dict(os.environ)
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        finished = subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            env=environment,
        )
        got = finished.stdout
        assert doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS), (
            f"$ {command}{got}instead of\n{expected}"
        )
        # `; echo $?` shows the code of an error where it matters.
        assert (finished.returncode != 0) == (
            expected.startswith("error: ") and "echo" not in command
        ), finished


def test_there_are_documents_and_examples():
    assert list(blocks(ROOT / "README.md"))
    assert sum(text.count("\n$ ") for _, text in blocks(ROOT / "docs" / "cli.md")) > 20
    assert EXAMPLES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_blocks_of_a_document_run(document, tmp_path, monkeypatch):
    """In their order, in one namespace, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for language, block in blocks(document):
        if language == "console":
            run_commands(block)
        else:
            exec(compile(block, str(document), "exec"), namespace)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_run(example, tmp_path):
    finished = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout


def package_doctests():
    """The docstrings of the package that hold examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = ["numpack", *(f"numpack.{m.name}" for m in pkgutil.iter_modules(numpack.__path__))]
    found = {}
    for name in names:
        module = importlib.import_module(name)
        for test in finder.find(module, name):
            if test.examples:
                found[test.name] = test
    # The classes of the compiled module are found through the names that the package gives them.
    for name in numpack.__all__:
        value = getattr(numpack, name)
        if isinstance(value, type):
            module = importlib.import_module(value.__module__)
            for test in finder.find(value, f"numpack.{name}", module=module):
                if test.examples:
                    found.setdefault(test.name, test)
    return found


DOCTESTS = package_doctests()


def test_docstrings_hold_examples():
    for name in ("save", "load", "replace", "append", "drop", "view", "sql", "batch_mode"):
        assert any(test.endswith(f"NumPack.{name}") for test in DOCTESTS), name


@pytest.mark.parametrize("name", sorted(DOCTESTS))
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = DOCTESTS[name]
    test.globs = {"np": np, "numpack": numpack, "NumPack": numpack.NumPack, "Path": Path}
    report = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    doctest.DocTestRunner(optionflags=flags).run(test, out=report.append)
    assert not report, "".join(report)
