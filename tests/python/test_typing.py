"""The package's surface: stubs, docstrings, __all__."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import numpack
import pytest
from support import run_python

MODULES = sorted(
    {"numpack"}
    | {
        f"numpack.{module.name}"
        for module in pkgutil.iter_modules(numpack.__path__)
        if not module.name.startswith("_")
    }
)


def public(owner):
    """The public functions, methods and properties that `owner` itself defines."""
    for name, value in sorted(vars(owner).items()):
        if not name.startswith("_"):
            yield name, value


def test_the_package_lists_its_names():
    assert numpack.__all__ == sorted(numpack.__all__)
    assert len(set(numpack.__all__)) == len(numpack.__all__) > 10
    for name in numpack.__all__:
        assert getattr(numpack, name) is not None
    for name in ("NumPack", "LazyArray", "BatchModeContext", "NumPackError"):
        assert name in numpack.__all__
    errors = {
        name
        for name, value in vars(numpack).items()
        if isinstance(value, type) and issubclass(value, numpack.NumPackError)
    }
    assert errors <= set(numpack.__all__)


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_their_classes_are_documented(module):
    module = importlib.import_module(module)
    assert inspect.getdoc(module)
    for name, value in public(module):
        if inspect.isclass(value) and value.__module__.startswith("numpack"):
            assert inspect.getdoc(value), name


CLASSES = [
    getattr(numpack, name)
    for name in numpack.__all__
    if inspect.isclass(getattr(numpack, name))
    and not issubclass(getattr(numpack, name), BaseException)
]


@pytest.mark.parametrize("owner", CLASSES, ids=lambda owner: owner.__name__)
def test_every_public_method_is_documented(owner):
    assert inspect.getdoc(owner), owner
    seen = 0
    for name, value in public(owner):
        if callable(value) or inspect.isdatadescriptor(value):
            assert inspect.getdoc(value), f"{owner.__name__}.{name}"
            seen += 1
    assert seen or owner.__name__ not in ("NumPack", "LazyArray", "Result")


def test_functions_are_documented():
    functions = [getattr(numpack, name) for name in numpack.__all__]
    functions = [value for value in functions if inspect.isroutine(value)]
    assert functions
    for function in functions:
        assert inspect.getdoc(function), function


def test_classes_belong_to_the_package():
    for owner in CLASSES:
        assert owner.__module__.split(".")[0] == "numpack", owner


def test_the_package_is_typed():
    folder = Path(numpack.__file__).parent
    assert (folder / "py.typed").exists()
    assert list(folder.glob("*.pyi"))


def test_stubs_agree_with_the_package(tmp_path):
    pytest.importorskip("mypy")
    code = (
        "import sys\nfrom mypy.stubtest import main\n"
        "sys.argv = ['stubtest', 'numpack', '--ignore-missing-stub']\nsys.exit(main())"
    )
    finished = run_python(code, check=False, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_types_that_users_write(tmp_path):
    """A small program passes mypy --strict with the package's own types."""
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np\n"
        "from numpack import LazyArray, NumPack\n"
        "\n"
        "with NumPack('x.npk') as npk:\n"
        "    npk.save({'a': np.arange(3)})\n"
        "    shape: tuple[int, ...] = npk.get_shape('a')\n"
        "    names: list[str] = npk.get_member_list()\n"
        "    lazy: LazyArray = npk.load('a', lazy=True)\n"
        "    total = npk.load('a').sum() + npk.view('a')[0]\n"
        "    npk.replace({'a': np.arange(2)}, [0, 1])\n"
        "    npk['a', 0] = 5\n"
    )
    code = "import sys\nfrom mypy.main import main\nmain(args=sys.argv[1:], clean_exit=True)"
    finished = run_python(code, "--strict", program, check=False, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
