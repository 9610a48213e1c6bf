"""Files that a batch block needs for a while."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from numpack import _internal

__all__ = ["on_disk", "scratch"]


def scratch(
    arrays: Mapping[str, np.ndarray],
    use: Callable[[Any], Any],
    attrs: Mapping[str, str] | None = None,
) -> Any:
    """Save arrays into a store that is deleted again, for doors that need files.

    What `use` returns may go on using the files: they stay until the last view is gone.
    """
    import tempfile  # here, because few need it and it doubles the time that importing takes

    with tempfile.TemporaryDirectory(prefix="numpack-batch-") as path:
        # Nobody else uses it, so it may be wherever temporary files are.
        store = _internal.Store(path, "w", "none", 30.0, True)
        try:
            store.save(dict(arrays))
            if attrs:
                store.commit_batch([], [("attrs", name, text) for name, text in attrs.items()])
            found = use(store)
            for view in found.values() if isinstance(found, dict) else ():
                view._ndarray()  # mapped now, while the files have names
            return found
        finally:
            store.close()


def on_disk(directory: str, content: np.ndarray, shape: Any, dtype: Any) -> np.ndarray:
    """A copy of `content` over a nameless file."""
    if content.nbytes == 0:
        return content.copy()
    import tempfile  # as above

    # In the store's own directory: that is where there is room for the data.
    with tempfile.TemporaryFile(dir=directory) as file:
        array = np.asarray(np.memmap(file, dtype=dtype, mode="w+", shape=tuple(shape) or (1,)))
    array = array.reshape(shape)
    array[...] = content
    return array
