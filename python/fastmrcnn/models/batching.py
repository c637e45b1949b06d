"""Which images go through the network together: a batch is padded to one size, and padding costs what pixels cost."""

from __future__ import annotations

from collections.abc import Sequence

from fastmrcnn.models.instances import Size

MAX_PADDING = 0.2  # of the pixels of a batch, beyond the padding that each image has when it is alone
WINDOW = 8  # batches: among so many consecutive images those of like shape are looked for


def window_of(batch_size: int) -> int:
    """How many consecutive images are put into batches together. Their company depends on nothing beyond them.

    >>> window_of(1), window_of(4)
    (1, 32)
    """
    return 1 if batch_size == 1 else WINDOW * batch_size


def group_by_shape(shapes: Sequence[Size | None], batch_size: int, max_padding: float = MAX_PADDING) -> list[list[int]]:
    """The images of a window in batches of like shape, of at most ``batch_size``.

    Args:
        shapes: (height, width) of each image in the network, with the padding that it has alone; None of one that is to
            stay alone, as nothing is known of it.
        max_padding: the greatest share of a batch's pixels that may be padding.

    Returns:
        Indices into ``shapes``, each once. The batches are of any order.

    >>> group_by_shape([(800, 1088), (1088, 800), (800, 1088), (800, 1216)], batch_size=4)
    [[0, 2, 3], [1]]
    """
    batches = [[place] for place, shape in enumerate(shapes) if shape is None]
    known = {place: shape for place, shape in enumerate(shapes) if shape is not None}
    # From one extreme to the other: begun in the middle, batches would leave images on both sides without company.
    left = sorted(known, key=lambda place: known[place][0] / known[place][1])
    while left:
        first = known[left[0]]
        batch: list[int] = []
        for place in sorted(left, key=lambda place: _padding([first, known[place]])):
            if len(batch) < batch_size and _padding([known[one] for one in (*batch, place)]) <= max_padding:
                batch.append(place)
        batches.append(sorted(batch))
        left = [place for place in left if place not in set(batch)]
    return batches


def _padding(shapes: Sequence[Size]) -> float:
    """The share of the pixels of a batch that are padding."""
    frame = max(height for height, _ in shapes) * max(width for _, width in shapes)
    return 1 - sum(height * width for height, width in shapes) / (len(shapes) * frame)
