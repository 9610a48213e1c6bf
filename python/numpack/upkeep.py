"""What one does with a store as a whole: lock it, look at it, copy it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from numpack.exceptions import ArgumentError
from numpack.handle import Handle

__all__ = ["Upkeep"]


class Upkeep(Handle):
    """The calls of a `NumPack` that are about all of the store."""

    @contextmanager
    def locked(self) -> Iterator[Self]:
        """A block in which nobody else writes, for changes that depend on what was read.

        Inside, this thread's calls commit one by one as always, under a lock that is held. Other
        threads and processes wait with theirs, up to their `lock_timeout` (a BusyError that names
        the holder). Nobody waits to read. Nested blocks join. An exception releases the lock and
        takes nothing back, and the lock never outlives the process; a forked child does not have
        it. Put a `batch_mode` inside the block, not around it.

        >>> with NumPack("counter.npk") as npk:
        ...     npk.save({"count": np.zeros(1, int)})
        ...     with npk.locked():
        ...         npk.replace({"count": npk.load("count") + 1}, [0])
        ...     npk.load("count")
        array([1])
        """
        store = self._engine()
        if self._batch is not None:
            raise ArgumentError(
                "locked() inside batch_mode() would end before the block is written: "
                "put it around the block"
            )
        lock = store.lock()
        try:
            yield self
        finally:
            lock.release()

    def checkpoint(self) -> None:
        """Move everything that the journal holds into the files that NumPack 0.4 reads.

        Closing the last handle does so too. What a `batch_mode` has not committed stays in it.

        >>> with NumPack("checkpoint.npk") as npk:
        ...     npk.save({"a": np.arange(3)})
        ...     npk.checkpoint()
        ...     npk.stats()["records"]
        0
        """
        self._engine().checkpoint()

    def stats(self) -> dict[str, Any]:
        """How the store stands, as a dict; costs microseconds and reads no data.

        Returns
        -------
        dict
            `arrays`; `rows`, those of all arrays without deleted ones; `bytes` of the data files;
            `deleted` rows that are still in them; `journal_bytes` and `journal_limit`, from which
            on a commit makes a checkpoint first; `records` in the journal since the last
            checkpoint; `lsn`, the number of the last of them, and `synced_lsn`, that of the last
            known to be on disk; `pending`, for each array with replaced rows that wait in the
            journal how many `rows` and 4 KiB `pages` these are (what was replaced twice may count
            twice); `mapped`, the arrays that views in this process hold; `idle_maps`, maps kept
            for the next view; `durability`. What an open `batch_mode` has not committed does not
            count.

        >>> with NumPack("stats.npk", drop_if_exists=True) as npk:
        ...     npk.save({"a": np.zeros((5, 2)), "b": np.arange(3, dtype=np.int8)})
        ...     stats = npk.stats()
        ...     stats["arrays"], stats["rows"], stats["bytes"], stats["pending"]
        (2, 8, 83, {})
        """
        return self._engine().stats()

    def copy_to(
        self,
        other: "Handle | str | os.PathLike[str]",
        names: str | Sequence[str] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        """Copy arrays into another store, as they are at one instant and as one commit there.

        Rows go from file to file without a copy in memory; deleted rows stay behind, attributes of
        the arrays come along. Inside `batch_mode` the arrays are copied as the block has left them.

        Parameters
        ----------
        other : NumPack or path
            Where to. A path is opened or created, and closed again.
        names : str, list of str or None
            Which arrays; None for all. A missing name is a KeyError.
        overwrite : bool
            Replace arrays that have these names. Without it one that is there is an
            ArrayExistsError (a ValueError), and nothing is copied.

        >>> with NumPack("from.npk") as npk, NumPack("to.npk") as other:
        ...     npk.save({"a": np.arange(3), "b": np.zeros(2)})
        ...     npk.copy_to(other, ["b"])
        ...     other.get_member_list()
        ['b']
        """
        if isinstance(names, str):
            names = [names]
        elif names is not None:
            names = list(names)
            for name in names:
                if not isinstance(name, str):
                    raise TypeError(f"an array name is a str, not {type(name).__name__}")
        views = self._target().snapshot(names)
        if isinstance(other, Handle):
            store = other._engine()
            if other._batch is not None:
                raise ArgumentError(
                    "copy_to() into a store with an open batch_mode(): leave that block first"
                )
            store.save_snapshot(views, bool(overwrite))
        else:
            with Handle(other, warn_no_context=False) as opened:
                opened._engine().save_snapshot(views, bool(overwrite))

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the store as it is at one instant into the new directory `path`.

        The copy is a closed store on disk when this returns, compact and with all attributes, which
        NumPack 0.4 opens too. Others may write to the store meanwhile. Anything that is at `path`
        already makes it a StoreExistsError (a FileExistsError). After an error there is nothing at
        `path`; a process that is killed may leave a directory `.npk-backup-...` beside it.

        >>> with NumPack("live.npk") as npk:
        ...     npk.save({"a": np.arange(3)})
        ...     npk.backup("backup.npk")
        >>> with NumPack("backup.npk", mode="r") as npk:
        ...     npk.load("a")
        array([0, 1, 2])
        """
        store = self._engine()
        if self._batch is not None:
            raise ArgumentError(
                "backup() inside batch_mode() would miss what the block has changed: "
                "leave the block first"
            )
        store.backup(os.fspath(path))
