"""Instances over an image, checked at the pixels."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastmrcnn.visualisation import draw_instances
from fastmrcnn.visualisation.colours import colour_of
from fastmrcnn.visualisation.labels import Label, draw_labels, font_size
from fastmrcnn.visualisation.overlay import line_width


def black(height: int = 60, width: int = 80) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


def rectangle(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_box_outlines_the_pixels_that_it_covers() -> None:
    picture = np.array(draw_instances(black(), [[10, 20, 30, 40]]))
    expected = np.zeros((60, 80), dtype=bool)
    expected[20:40, 10:30] = True
    expected[21:39, 11:29] = False
    assert np.array_equal(picture.any(axis=2), expected)
    assert tuple(picture[20, 10]) == colour_of(0)


def test_mask_is_blended_within_its_contour() -> None:
    image = np.full((60, 80, 3), 100, dtype=np.uint8)
    picture = np.array(draw_instances(image, [[0, 0, 0, 0]], masks=[rectangle(10, 30, 20, 50)], opacity=0.25))
    assert tuple(picture[10, 20]) == tuple(picture[29, 49]) == colour_of(0)  # contour
    blended = 0.75 * 100 + 0.25 * np.array(colour_of(0))
    assert np.abs(picture[11:29, 21:49] - blended).max() <= 1  # opacity is rounded to a 255th
    assert (picture[31:, 51:] == 100).all()


def test_the_image_given_is_not_changed() -> None:
    pixels, picture = black(), Image.new("RGB", (80, 60))
    for image in (pixels, picture):
        draw_instances(image, [[5, 5, 40, 40]], masks=[rectangle(5, 40, 5, 40)], names=["disk"])
        assert not np.asarray(image).any()


def test_hole_shows_the_image() -> None:
    ring = rectangle(10, 40, 10, 40) & ~rectangle(20, 30, 20, 30)
    picture = np.array(draw_instances(black(), [[10, 10, 40, 40]], masks=[ring], opacity=0.5))
    assert not picture[20:30, 20:30].any()
    assert tuple(picture[19, 25]) == colour_of(0)  # the hole has a contour too


@pytest.mark.parametrize(("colour_by", "second"), [("class", colour_of(5)), ("instance", colour_of(1))])
def test_colours_by_class_or_instance(colour_by: str, second: tuple[int, int, int]) -> None:
    boxes = [[2, 2, 20, 20], [30, 30, 50, 50]]
    picture = np.array(draw_instances(black(), boxes, labels=[5, 5], colour_by=colour_by))
    assert tuple(picture[30, 30]) == second


def test_small_mask_lies_on_a_large_one() -> None:
    masks = [rectangle(20, 30, 20, 30), rectangle(0, 60, 0, 80)]
    picture = np.array(draw_instances(black(), np.zeros((2, 4)), masks=masks, opacity=1.0))
    assert tuple(picture[25, 25]) == colour_of(0)
    assert tuple(picture[50, 70]) == colour_of(1)


@given(
    x=st.integers(-20, 90),
    y=st.integers(-20, 70),
    width=st.integers(0, 40),
    height=st.integers(0, 40),
    zoom=st.integers(1, 2),
)
def test_crop_draws_as_the_whole_bitmap(x: int, y: int, width: int, height: int, zoom: int) -> None:
    crop = np.random.default_rng(0).random((height, width)) > 0.4
    whole = np.zeros((160, 180), dtype=bool)  # with a border of 50 pixels around the image
    whole[50 + y : 50 + y + height, 50 + x : 50 + x + width] = crop
    box = np.zeros((1, 4))
    from_crop = draw_instances(black(), box, masks=[(crop, (x, y))], zoom=zoom)
    from_whole = draw_instances(black(), box, masks=[(whole, (-50, -50))], zoom=zoom)
    assert np.array_equal(np.array(from_crop), np.array(from_whole))


@pytest.mark.parametrize("zoom", [2, 3, 4])
def test_zoom_keeps_everything_in_place(zoom: int) -> None:
    mask = rectangle(10, 30, 20, 50)
    picture = np.array(draw_instances(black(), [[20, 10, 50, 30]], masks=[mask], opacity=1.0, zoom=zoom))
    assert picture.shape == (60 * zoom, 80 * zoom, 3)
    rows, columns = np.flatnonzero(picture.any(axis=(1, 2))), np.flatnonzero(picture.any(axis=(0, 2)))
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (10 * zoom, 30 * zoom, 20 * zoom, 50 * zoom)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2)])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_tiny_and_grey_images(size: tuple[int, int], channels: int | None) -> None:
    image = np.zeros(size if channels is None else (*size, channels), dtype=np.uint8)
    mask = np.ones(size, dtype=bool)
    picture = draw_instances(image, [[0, 0, 9, 9]], masks=[mask], names=["a long class name"], scores=[1.0])
    assert picture.mode == "RGB"
    assert picture.size == (size[1], size[0])


def test_pillow_images_of_other_modes() -> None:
    for mode in ("L", "P", "RGBA", "1"):
        assert draw_instances(Image.new(mode, (8, 6)), [[1, 1, 4, 4]]).mode == "RGB"


@pytest.mark.parametrize(
    "box",
    [
        [np.nan, 0, 5, 5],
        [0, np.inf, 5, 5],
        [-1e30, -1e30, 1e30, 1e30],
        [100, 100, 200, 200],
        [40, 40, 10, 10],
        [7, 7, 7, 7],
    ],
)
def test_strange_boxes(box: list[float]) -> None:
    picture = draw_instances(black(), [box], masks=[rectangle(0, 0, 0, 0)], names=["disk"], scores=[np.nan])
    assert picture.size == (80, 60)


@pytest.mark.parametrize("box", [[100, 100, 200, 200], [-30, 5, -10, 20], [5, -30, 20, -10], [np.inf] * 4])
def test_a_box_off_the_image_leaves_no_line_at_its_border(box: list[float]) -> None:
    assert not np.asarray(draw_instances(black(), [box], names=["disk"])).any()


def test_nothing_to_draw_leaves_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    picture = draw_instances(image, np.zeros((0, 4)), masks=np.zeros((0, 6, 7), bool), labels=[], names=[], scores=[])
    assert np.array_equal(np.array(picture), image)
    assert np.array_equal(np.array(draw_instances(image, [])), image)


def test_labels_stay_inside_and_off_each_other() -> None:
    boxes = [[0, 0, 30, 30], [2, 2, 32, 32], [180, 100, 199, 149], [150, 140, 199, 149]]
    colours = [(250, 1, 1), (1, 250, 1), (1, 1, 250), (250, 250, 1)]
    canvas = Image.new("RGB", (200, 150))
    draw_labels(canvas, [Label("disk 0.97", tuple(box), colour) for box, colour in zip(boxes, colours, strict=True)])
    pixels = np.array(canvas)
    areas = [(pixels == np.array(colour)).all(axis=2).sum() for colour in colours]
    assert min(areas) > 0.8 * max(areas)  # none hides another, none is cut off


@pytest.mark.parametrize(("count", "side"), [(40, 150), (2000, 20)])
def test_labels_of_many_objects_leave_the_picture_to_be_seen(count: int, side: int) -> None:
    corners = np.random.default_rng(0).integers(0, 1280 - side, (count, 2))
    boxes = np.concatenate([corners, corners + side], axis=1)
    bare = np.array(draw_instances(black(1280, 1280), boxes))
    texts = np.array(draw_instances(black(1280, 1280), boxes, names=["coin"] * count, scores=[0.5] * count))
    hidden = float((bare != texts).any(axis=2).mean())
    assert 0.05 < hidden < 0.3
    lines = float((bare > 0).any(axis=2).mean())
    assert lines < 0.5


def test_text_and_lines_grow_with_the_image() -> None:
    assert [line_width((side, 10)) for side in (1, 400, 800, 4000)] == [1, 1, 2, 10]
    assert [line_width((4000, 10), np.array(sides)) for sides in ([], [500.0], [20.0, 48.0, 900.0])] == [10, 10, 3]
    sizes = [font_size((side, 10)) for side in (1, 100, 1000, 10_000)]
    assert sizes == sorted(sizes)
    assert sizes[0] >= 9


def test_scores_alone_and_names_alone() -> None:
    base = np.array(draw_instances(black(), [[5, 30, 70, 50]]))
    for text in ({"names": ["disk"]}, {"scores": [0.5]}, {"names": ["disk"], "scores": [0.5]}):
        assert not np.array_equal(np.array(draw_instances(black(), [[5, 30, 70, 50]], **text)), base)
    assert np.array_equal(np.array(draw_instances(black(), [[5, 30, 70, 50]], names=[""])), base)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": np.zeros((2, 60, 80), bool)}, "draw_instances: masks must have 1 entries, as boxes; got 2"),
        ({"names": []}, "draw_instances: names must have 1 entries, as boxes; got 0"),
        ({"colour_by": "score"}, "draw_instances: colour_by must be 'class' or 'instance'; got 'score'"),
        ({"opacity": 1.5}, r"draw_instances: opacity must be within 0..1; got 1.5"),
        ({"zoom": 0}, "draw_instances: zoom must be at least 1; got 0"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_instances(black(), [[0, 0, 5, 5]], **arguments)  # type: ignore[arg-type]


def test_names_from_a_file_may_hold_any_character() -> None:
    one_line = draw_instances(black(), [[5, 20, 40, 40]], names=["a b"])
    for name in ("a\nb", "a\x00b", "a\ud800b"):
        picture = draw_instances(black(), [[5, 20, 40, 40]], names=[name])
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(one_line))


def test_wrong_image() -> None:
    with pytest.raises(ValueError, match=r"draw_instances: image must be .* float in 0..1; got int64 \[4, 4, 3\]"):
        draw_instances(np.zeros((4, 4, 3), np.int64), [])


def test_visualisation_needs_neither_torch_nor_matplotlib_to_import() -> None:
    program = "import sys, fastmrcnn.visualisation; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
