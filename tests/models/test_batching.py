"""Batches of like shape: every image once, never more padding than is said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastmrcnn.models.batching import MAX_PADDING, group_by_shape, window_of

sides = st.integers(1, 42).map(lambda side: 32 * side)
shapes = st.lists(st.one_of(st.none(), st.tuples(sides, sides)), max_size=40)


@given(shapes, st.integers(1, 9))
def test_every_image_once_and_padding_within_its_bound(sizes: list[tuple[int, int] | None], batch_size: int) -> None:
    batches = group_by_shape(sizes, batch_size)
    assert sorted(place for batch in batches for place in batch) == list(range(len(sizes)))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        known = [size for place in batch if (size := sizes[place]) is not None]
        assert known or len(batch) == 1
        if known:
            seen = len(known) * max(height for height, _ in known) * max(width for _, width in known)
            assert sum(height * width for height, width in known) >= (1 - MAX_PADDING - 1e-9) * seen


def test_images_of_one_shape_fill_batches_in_their_order() -> None:
    assert group_by_shape([(800, 1088)] * 7, 3) == [[0, 1, 2], [3, 4, 5], [6]]


def test_photographs_of_both_kinds_come_apart_and_fill_batches() -> None:
    """As at COCO: most of 4:3 or 3:2, upright or not, in any order. Put together as they come, a third is padding."""
    window = [(800, 1088), (800, 1216), (1088, 800), (800, 1088)] * 16
    batches = group_by_shape(window, 8)
    assert len(batches) == 8
    assert {len({window[place][0] > window[place][1] for place in batch}) for batch in batches} == {1}


def test_an_image_alone_looks_for_no_company() -> None:
    assert window_of(1) == 1
