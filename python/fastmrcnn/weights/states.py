"""What the readers of all families ask of the tensors of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models.config import Depth
from fastmrcnn.weights.coco_classes import COCO_80_CLASSES, COCO_80_IDS

__all__ = ["State", "buildable", "check_state", "classes_of", "count_of", "depth_of", "size_of"]

State = Mapping[str, Tensor]

_DEPTHS: dict[tuple[bool, int], Depth] = {  # (bottlenecks, blocks of stage 4) -> depth
    (False, 2): 18,
    (False, 6): 34,
    (True, 6): 50,
    (True, 23): 101,
    (True, 36): 152,
}


def check_state(state: Mapping[str, object], expected: str, recognised: bool, source: str) -> None:
    """UserError unless a state_dict was recognised as ``expected`` and holds tensors alone."""
    if not recognised:
        first = ", ".join(list(state)[:3]) or "none"
        raise UserError(f"{source}: expected a state_dict of {expected}; it begins with {first}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise UserError(f"{source}: expected a state_dict of tensors; {name!r} is a {type(value).__name__}")


@contextmanager
def buildable(source: str) -> Iterator[None]:
    """What a configuration refuses of the sizes in a file is a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{source}: expected the shapes of a model that can be built: {error}") from None


def depth_of(bottlenecks: bool, blocks: int, stage_4: str, source: str) -> Depth:
    """The depth of a ResNet with so many ``blocks`` in the stage that the file calls ``stage_4``."""
    if (bottlenecks, blocks) not in _DEPTHS:
        expected = "a ResNet-18, 34, 50, 101 or 152 backbone"
        raise UserError(f"{source}: expected {expected}; its {stage_4} has {blocks} blocks")
    return _DEPTHS[bottlenecks, blocks]


def classes_of(
    count: int, class_names: Sequence[str] | None, category_ids: Sequence[int], source: str
) -> tuple[Sequence[str], Sequence[int]]:
    """(names, ids) of ``count`` foreground classes: the user's, or COCO's where there are its 80, or class-1, ..."""
    if class_names is None and count == len(COCO_80_CLASSES):
        return COCO_80_CLASSES, category_ids or COCO_80_IDS
    names = [f"class-{label}" for label in range(1, count + 1)] if class_names is None else class_names
    if len(names) != count:
        raise UserError(f"{source}: expected {count} class_names, as the classifier has; got {len(names)}")
    return names, category_ids


def count_of(state: State, before: str, after: str, first: int = 0) -> int:
    """How many tensors are called ``before`` 0, 1, .. ``after``, or from another ``first`` number on."""
    count = 0
    while f"{before}{first + count}{after}" in state:
        count += 1
    return count


def size_of(state: State, name: str, default: int, axis: int = 0) -> int:
    """The size of a tensor along ``axis``; ``default`` where there is no such tensor or axis."""
    tensor = state.get(name)
    return default if tensor is None or tensor.ndim <= axis else tensor.shape[axis]
