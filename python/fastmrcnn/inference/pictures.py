"""What is segmented: one picture after the other, each with its place among all and a name for its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a run."""

    # Among all pictures of the run, from 0.
    place: int
    # The file that it is in.
    path: Path
    # Of its results: no other picture has it, not even in other letters' case. It has no suffix.
    name: str

    @property
    def file_name(self) -> str:
        """What images.json says."""
        return str(self.path)


class Pictures(Sequence[Picture]):
    """The pictures of a run in their order: little but their paths is kept, however many there are.

    >>> pictures = Pictures(["a/cat.jpg", "b/cat.jpg"])
    >>> [picture.name for picture in pictures]
    ['cat', 'cat-2']
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._renamed = _numbered_names([Path(path).stem for path in paths])

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, place: int) -> Picture: ...

    @overload
    def __getitem__(self, place: slice) -> list[Picture]: ...

    def __getitem__(self, place: int | slice) -> Picture | list[Picture]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        place = range(len(self))[place]
        path = Path(self._paths[place])
        return Picture(place, path, self._renamed.get(place, path.stem))


def _numbered_names(names: Sequence[str]) -> dict[int, str]:
    """The places of names that occurred before, and what they are called instead: ``cat-2``, ``cat-3``.

    Names differ in more than upper and lower case, for file systems that cannot tell these apart.
    """
    taken: set[str] = set()
    renamed = {}
    for place, own in enumerate(names):
        name, number = own, 1
        while name.casefold() in taken:
            number += 1
            name = f"{own}-{number}"
        taken.add(name.casefold())
        if number > 1:
            renamed[place] = name
    return renamed
