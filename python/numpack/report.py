"""`Report`: what `NumPack.verify` has found."""

from dataclasses import dataclass, field

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """The findings of `NumPack.verify`; as text, one line a finding and the verdict last.

    Attributes
    ----------
    ok : bool
        Whether nothing is wrong. What could not be checked is no problem.
    problems : list of str
        What is wrong: the array, the file, and the bytes and rows where they are known.
    unchecked : list of str
        Rows of which nobody can tell, and why.
    leftovers : list of str
        Files that belong to no array. They do no harm.
    checked_bytes : int
        Bytes of rows that were compared with their checksums and are what was written.
    """

    ok: bool
    problems: list[str]
    unchecked: list[str]
    leftovers: list[str]
    checked_bytes: int
    _text: str = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return self.ok
