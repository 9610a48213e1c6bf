"""Fixtures of the Python tests."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

# What a shell starts in the background ignores Ctrl-C, and so does what that starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

QUIET = {
    "deadline": None,
    "report_multiple_bugs": False,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}
# `make test` runs the same examples each time; NUMPACK_DEEP=1 looks for new ones.
settings.register_profile("test", max_examples=60, derandomize=True, **QUIET)
settings.register_profile("deep", max_examples=3000, print_blob=True, **QUIET)
settings.load_profile("deep" if os.environ.get("NUMPACK_DEEP") else "test")


@pytest.fixture
def path(tmp_path):
    """Where a test keeps its store; nothing is there yet."""
    return tmp_path / "store.npk"


@pytest.fixture
def npk(path):
    """An open, empty store."""
    from numpack import NumPack

    with NumPack(path) as store:
        yield store


@pytest.fixture(scope="session")
def python_042():
    """The interpreter of an environment with the published numpack 0.4.2, made by the Makefile."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    default = cache / "numpack" / "venv-0.4.2" / "bin" / "python"
    interpreter = Path(os.environ.get("NUMPACK_042_PYTHON") or default)
    assert interpreter.exists(), f"{interpreter} is missing: `make test` makes it"
    return interpreter
