"""LabelMe: its shapes, groups, paths and mistakes."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmrcnn.data import open_dataset
from fastmrcnn.errors import UserError
from tests.data.readers.same_scene import png_in_base64, write_image, write_json

HEIGHT, WIDTH = 20, 30


def shape(kind: str | None, points: list[Any], label: str = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, **more}


def write(folder: Path, *shapes: Any, **more: Any) -> Path:
    write_image(folder / "a.png", HEIGHT, WIDTH)
    return write_json(folder / "a.json", {"version": "5.5.0", "shapes": list(shapes), "imagePath": "a.png", **more})


def test_shapes(tmp_path: Path) -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, :3] = True
    file = write(
        tmp_path,
        shape(None, [[2, 3], [6, 3], [6, 7], [2, 7]]),  # old files name no type: a polygon
        shape("rectangle", [[9, 8], [5, 2]]),
        shape("circle", [[15, 10], [15, 15]]),
        shape("oriented_rectangle", [[10, 2], [12, 4], [10, 6], [8, 4]]),
        shape("mask", [[20, 5], [23, 7]], mask=png_in_base64(mask)),
    )
    sample = open_dataset(file)[0]
    assert sample.boxes.tolist()[:3] == [[2, 3, 6, 7], [5, 2, 9, 8], [10, 5, 20, 15]]
    assert sample.areas[:2].tolist() == [16, 24]
    assert abs(sample.areas[2] - np.pi * 25) < 8
    assert sample.boxes[4].tolist() == [20, 6, 23, 7]
    assert sample.areas[4] == 3


def test_a_group_is_one_object(tmp_path: Path) -> None:
    left, right = [[0, 0], [2, 4]], [[5, 0], [8, 4]]
    dot = png_in_base64(np.ones((1, 1), dtype=bool))
    file = write(
        tmp_path,
        shape("rectangle", left, group_id=1),
        shape("rectangle", right, group_id=1),
        shape("rectangle", left, group_id=2),
        shape("mask", [[9, 9], [9, 9]], group_id=2, mask=dot),
        shape("rectangle", left, label="dog", group_id=1),
        shape("rectangle", left, group_id=None),
        shape("rectangle", left, group_id=None),
    )
    dataset = open_dataset(file)
    assert dataset.class_names == ("cat", "dog")
    assert dataset[0].areas.tolist() == [20, 9, 8, 8, 8]
    assert dataset[0].labels.tolist() == [0, 0, 1, 0, 0]


def test_a_folder_with_images_elsewhere_and_paths_of_windows(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png", HEIGHT, WIDTH)
    document = {"shapes": [shape("rectangle", [[1, 1], [3, 3]])], "imagePath": "..\\images\\a.png"}
    write_json(tmp_path / "json" / "a.json", document)
    write_json(tmp_path / "json" / "b.json", document | {"shapes": [], "imagePath": "..\\images\\b.png"})
    write_image(tmp_path / "images" / "b.png", HEIGHT, WIDTH)
    for images in (None, tmp_path / "images"):
        assert [len(sample) for sample in open_dataset(tmp_path / "json", images)] == [1, 0]


def test_an_image_of_another_size_than_the_shapes_were_drawn_on(tmp_path: Path) -> None:
    square = shape("rectangle", [[1, 1], [3, 3]])
    assert len(open_dataset(write(tmp_path, square, imageHeight=HEIGHT, imageWidth=WIDTH))[0]) == 1
    assert len(open_dataset(write(tmp_path, square, imageHeight=None, imageWidth=None))[0]) == 1
    file = write(tmp_path, square, imageHeight=2 * HEIGHT, imageWidth=2 * WIDTH)
    with pytest.raises(UserError) as caught:
        open_dataset(file)[0]
    expected = f"expected 60 x 40 pixels (width x height), as {file} says; got 30 x 20"
    assert str(caught.value) == f"{tmp_path / 'a.png'}: {expected}"
    file = write(tmp_path, square, imageHeight=0, imageWidth=WIDTH)
    with pytest.raises(UserError) as caught:
        open_dataset(file)
    assert str(caught.value) == f"{file}: expected imageHeight and imageWidth of at least 1; got 0 and 30"


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([7], ": shape 0: expected an object; got an integer"),
        ([{"points": []}], ": shape 0: expected the key 'label'; got points"),
        ([shape("point", [[1, 2]])], ": shape 0 ('cat'): expected a polygon, rectangle, circle or mask; got a point, "),
        ([shape("rectangle", [[1, 2]])], ": shape 0 ('cat'): a rectangle has 2 points; got 1"),
        ([shape("polygon", [[1, 2], [3]])], ": shape 0 ('cat'): points must be pairs of numbers; got [[1, 2], [3]]"),
        (
            [shape("polygon", [[1, 2], [3, 4]])],
            ": shape 0 ('cat'): expected a polygon of at least 3 points (x, y); got 4",
        ),
        (
            [shape("mask", [[1, 2], [3, 4]], mask="no")],
            ": shape 0 ('cat'): mask must be a PNG file in base64; got 'no'",
        ),
        (
            [shape("mask", [[1, 2], [3, 4]], mask=None)],
            ": shape 0 ('cat'): mask must be a PNG file in base64; got None",
        ),
        (
            [shape("mask", [[1, 2], [3, 4]], mask=png_in_base64(np.ones((2, 2), dtype=bool)))],
            ": shape 0 ('cat'): expected a mask from its first point to its second, within 30 x 20 pixels; got 2 x 2 "
            "pixels from (1, 2) to (3, 4)",
        ),
        (
            [shape("rectangle", [[1, 2], [3, 4]], group_id=[])],
            ": shape 0 ('cat'): group_id must be an integer or null; got a list",
        ),
        ([], ": expected at least one shape; got none"),
    ],
)
def test_mistakes(shapes: list[Any], message: str, tmp_path: Path) -> None:
    file = write(tmp_path, *shapes)
    with pytest.raises(UserError) as caught:
        open_dataset(file)
    assert str(caught.value).startswith(f"{file}{message}")
    assert "\n" not in str(caught.value)


def test_a_mask_of_more_pixels_than_memory_is_refused(tmp_path: Path) -> None:
    small = base64.b64decode(png_in_base64(np.ones((2, 2), dtype=bool)))
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + small[24:29]
    huge = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    file = write(tmp_path, shape("mask", [[1, 2], [2, 3]], mask=base64.b64encode(huge).decode()))
    with pytest.raises(UserError, match=r"shape 0 \('cat'\): mask must be a PNG file in base64; got 'iVBOR"):
        open_dataset(file)


def test_an_image_that_is_missing_or_used_twice(tmp_path: Path) -> None:
    file = write(tmp_path, shape("rectangle", [[1, 2], [3, 4]]))
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError) as caught:
        open_dataset(file)
    assert str(caught.value) == f"{file}: there is no image {tmp_path / 'a.png'}"
    write(tmp_path, shape("rectangle", [[1, 2], [3, 4]]))
    (tmp_path / "b.json").write_text(file.read_text())
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'b.json'}: imagePath 'a.png' is that of {file} already"
