"""VIA: its shapes, its two versions, how the class is found, and its mistakes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmrcnn.data import open_dataset
from fastmrcnn.errors import UserError
from tests.data.readers.same_scene import write_image, write_json

HEIGHT, WIDTH = 60, 80


def region(shape: dict[str, Any], attributes: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes or {}}


def square(attributes: dict[str, Any] | None = None) -> dict[str, Any]:
    return region({"name": "rect", "x": 2, "y": 3, "width": 4, "height": 4}, attributes)


def write(folder: Path, *regions: Any) -> Path:
    """A file of one image with these regions."""
    write_image(folder / "a.png", HEIGHT, WIDTH)
    return write_json(folder / "via.json", {"a.png99": {"filename": "a.png", "size": 99, "regions": list(regions)}})


def inside(x: float, y: float, radius_x: float, radius_y: float, angle: float) -> np.ndarray:
    """The pixels whose centre is in an ellipse."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    cos, sin = math.cos(angle), math.sin(angle)
    along, across = (columns - x) * cos + (rows - y) * sin, (rows - y) * cos - (columns - x) * sin
    return (along / radius_x) ** 2 + (across / radius_y) ** 2 <= 1


@pytest.mark.parametrize(
    ("shape", "ellipse"),
    [
        ({"name": "circle", "cx": 40.5, "cy": 30, "r": 20.2}, (40.5, 30, 20.2, 20.2, 0)),
        ({"name": "ellipse", "cx": 40, "cy": 30, "rx": 30, "ry": 12}, (40, 30, 30, 12, 0)),
        ({"name": "ellipse", "cx": 40, "cy": 30, "rx": 25, "ry": 10, "theta": 0.6}, (40, 30, 25, 10, 0.6)),
    ],
)
def test_round_shapes(shape: dict[str, Any], ellipse: tuple[float, ...], tmp_path: Path) -> None:
    [mask] = open_dataset(write(tmp_path, region(shape)))[0].masks.to_bitmaps().numpy()
    expected = inside(*ellipse)
    assert (mask != expected).sum() <= 0.06 * expected.sum()  # COCO's rule draws the border otherwise
    wrong = inside(*ellipse[:4], ellipse[4] + 0.3)
    if ellipse[2] != ellipse[3]:
        assert (mask != expected).sum() < 0.5 * (mask != wrong).sum()


def test_matterports_balloons(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    write_image(tmp_path / "a.png", HEIGHT, WIDTH)
    outline = {"name": "polygon", "all_points_x": [2, 6, 6, 2], "all_points_y": [3, 3, 7, 7]}
    document = {
        "a.png99": {
            "fileref": "",
            "size": 99,
            "filename": "a.png",
            "base64_img_data": "",
            "file_attributes": {},
            "regions": {"0": region(outline), "1": region({**outline, "name": "polyline"})},
        },
        "b.png7": {"filename": "b.png", "size": 7, "regions": {}},  # not annotated yet, and left out
    }
    file = write_json(tmp_path / "via_region_data.json", document)
    dataset = open_dataset(file)
    assert caplog.messages == [f"{file}: 1 images without regions are left out"]
    assert dataset.class_names == ("object",)
    [sample] = dataset
    assert sample.boxes.tolist() == [[2, 3, 6, 7]] * 2
    assert sample.areas.tolist() == [16, 16]


def test_a_project(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", HEIGHT, WIDTH)
    image = {"filename": "a.png", "size": 1, "regions": [square({"kind": "cat"})], "file_attributes": {}}
    file = write_json(tmp_path / "project.json", {"_via_settings": {}, "_via_img_metadata": {"a.png1": image}})
    assert open_dataset(file).class_names == ("cat",)


def test_the_class_is_an_attribute_of_any_name_or_the_one_that_is_called_so(tmp_path: Path) -> None:
    cat, dog = square({"what": "cat"}), square({"what": {"dog": True, "cat": False}})
    assert open_dataset(write(tmp_path, cat, dog))[0].labels.tolist() == [0, 1]
    several = square({"quality": {"sharp": True}, "Name": " dog "})
    assert open_dataset(write(tmp_path, several)).class_names == ("dog",)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([], "expected at least one region; got none"),
        ([7], "image 'a.png': region 0: expected an object; got an integer"),
        (
            [{"shape_attributes": {}}],
            "image 'a.png': region 0: expected the key 'region_attributes'; got shape_attributes",
        ),
        ([region({})], "image 'a.png': region 0: expected the key 'name'; got an empty object"),
        (
            [square(), region({"name": "point", "cx": 1, "cy": 2})],
            "image 'a.png': region 1: expected a polygon, polyline, rect, circle or ellipse; got a point without area",
        ),
        (
            [region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]})],
            "image 'a.png': region 0: expected as many all_points_x as all_points_y; got 3 and 2",
        ),
        (
            [region({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]})],
            "image 'a.png': region 0: expected a polygon of at least 3 points (x, y); got 4 numbers",
        ),
        (
            [region({"name": "circle", "cx": 1, "cy": "2", "r": 3})],
            "image 'a.png': region 0: cy must be a finite number; got '2'",
        ),
        (
            [region({"name": "rect", "x": 1, "y": 2, "width": 0, "height": 3})],
            "image 'a.png': region 0: expected width and height above 0; got 0 and 3",
        ),
        (
            [square({"type": "cat"}), square({"type": ""})],
            "image 'a.png': region 1: expected a class in the attribute 'type'; got ''",
        ),
        (
            [square({"type": "cat"}), square()],
            "image 'a.png': region 1: expected a class in the attribute 'type'; got 'no such attribute'",
        ),
        (
            [square({"colour": "red", "size": "L"})],
            "regions have the attributes colour, size; expected one of them to be named class, label, category, name, "
            "type or object, to name the classes",
        ),
    ],
)
def test_mistakes(regions: list[Any], message: str, tmp_path: Path) -> None:
    file = write(tmp_path, *regions)
    with pytest.raises(UserError) as caught:
        open_dataset(file)
    assert str(caught.value) == f"{file}: {message}"


def test_missing_and_repeated_images(tmp_path: Path) -> None:
    entry = {"filename": "a.png", "size": 1, "regions": [square()]}
    file = write_json(tmp_path / "via.json", {"1": entry})
    with pytest.raises(UserError) as caught:
        open_dataset(file)
    assert str(caught.value) == f"{file}: image 'a.png': there is no image {tmp_path / 'a.png'}"
    write_json(file, {"1": entry, "2": entry})
    with pytest.raises(UserError) as caught:
        open_dataset(file)
    assert str(caught.value) == f"{file}: image 'a.png' appears twice; expected each image once"
