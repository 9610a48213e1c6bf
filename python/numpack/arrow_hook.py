"""Registering our extension types with pyarrow as soon as pyarrow is imported, by whomever.

Importing numpack must not import pyarrow, which takes a tenth of a second and may be missing. If
it is there already the types are registered at once; otherwise a finder waits at the head of
`sys.meta_path` for the one name it knows, and leaves when that name has come. Registering with
our first export would be simpler, but too late for a file or a stream that holds our columns and
is read before anything was exported.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["register_with_pyarrow"]


def register_with_pyarrow() -> None:
    """Register the extension types now, or when pyarrow is imported."""
    if sys.modules.get("pyarrow") is not None:
        _register()
    elif not any(isinstance(finder, _PyarrowFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PyarrowFinder())


def _register() -> None:
    importlib.import_module("numpack.extension_types")


class _PyarrowFinder(MetaPathFinder):
    """Finds pyarrow as the other finders do, and has its loader call us once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "pyarrow":
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        # Only this loader object, for this one load: what the module remembers as its loader is
        # the one it would have had without us.
        loader = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            _register()

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
