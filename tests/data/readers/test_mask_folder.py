"""Folders of masks: their layouts and their mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastmrcnn.data import open_dataset
from fastmrcnn.errors import UserError
from tests.data.readers.same_scene import write_image, write_labels

HEIGHT, WIDTH = 20, 24


def square(value: int, left: int = 3) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[4:8, left : left + 5] = value
    return mask


def test_a_file_that_numbers_the_objects(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"images/{name}.jpg", HEIGHT, WIDTH)
    write_labels(tmp_path / "masks/a.png", square(1) + square(2, left=10))
    (tmp_path / "masks/.thumbnails").mkdir()
    write_labels(tmp_path / "masks/b_mask.png", square(700 % 256))
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16) + square(1) * np.uint16(700)).save(tmp_path / "masks/c.png")
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("object",)
    assert [sample.boxes.tolist() for sample in dataset] == [
        [[3, 4, 8, 8], [10, 4, 15, 8]],
        [[3, 4, 8, 8]],
        [[3, 4, 8, 8]],
    ]


@pytest.mark.parametrize("mode", ["1", "L", "RGBA"])
def test_the_layout_of_the_data_science_bowl(mode: str, tmp_path: Path) -> None:
    for name in ("00ae", "b1"):
        write_image(tmp_path / name / "images" / f"{name}.png", HEIGHT, WIDTH)
        (tmp_path / name / "masks").mkdir()
        for number, left in enumerate((3, 10)):
            mask = Image.fromarray(square(255, left)).convert(mode)
            mask.save(tmp_path / name / "masks" / f"{number}.png")
    write_labels(tmp_path / "b1/masks/empty.png", square(0))
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("object",)
    assert [sample.boxes.tolist() for sample in dataset] == [[[3, 4, 8, 8], [10, 4, 15, 8]]] * 2


def test_what_is_transparent_is_background(tmp_path: Path) -> None:
    shape = square(255)
    white = np.full_like(shape, 255)
    write_image(tmp_path / "images/a.png", HEIGHT, WIDTH)
    (tmp_path / "masks/a").mkdir(parents=True)
    Image.fromarray(np.stack([white, white, white, shape], axis=2)).save(tmp_path / "masks/a/0.png")
    Image.fromarray(np.stack([white, shape], axis=2), "LA").save(tmp_path / "masks/a/1.png")
    indexed = Image.fromarray(shape // 255)
    indexed.putpalette([255] * 6)
    indexed.save(tmp_path / "masks/a/2.png", transparency=0)
    assert open_dataset(tmp_path)[0].boxes.tolist() == [[3, 4, 8, 8]] * 3


def test_a_palette_whose_black_is_not_its_first_colour(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png", HEIGHT, WIDTH)
    (tmp_path / "masks/a").mkdir(parents=True)
    indexed = Image.fromarray(1 - square(1))
    indexed.putpalette([255, 255, 255, 0, 0, 0])
    indexed.save(tmp_path / "masks/a/0.png")
    assert open_dataset(tmp_path)[0].boxes.tolist() == [[3, 4, 8, 8]]


@pytest.mark.parametrize("name", ["a.tif", "a/0.tif"])
def test_masks_on_several_pages_are_refused(name: str, tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png", HEIGHT, WIDTH)
    file = tmp_path / "masks" / name
    file.parent.mkdir(parents=True)
    pages = [Image.fromarray(square(1, left)) for left in (3, 10)]
    pages[0].save(file, save_all=True, append_images=pages[1:])
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)[0]
    assert str(caught.value) == f"{file}: expected one image of masks; got a TIFF of 2 pages"


def test_masks_and_images_anywhere(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/a.jpg", HEIGHT, WIDTH)
    write_labels(tmp_path / "drawn/a_mask.png", square(1))
    assert [len(sample) for sample in open_dataset(tmp_path / "drawn", tmp_path / "photos")] == [1]
    with pytest.raises(UserError, match="it looks like none of them"):  # images are no masks of themselves
        open_dataset(tmp_path / "photos", tmp_path / "photos")


def test_masks_that_overlap_stay_whole(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png", HEIGHT, WIDTH)
    for number in range(2):
        write_labels(tmp_path / f"masks/a/{number}.png", square(255, left=3 + number))
    assert open_dataset(tmp_path)[0].areas.tolist() == [20, 20]


def test_masks_and_images_in_folders_of_any_name(tmp_path: Path) -> None:
    write_image(tmp_path / "PNGImages/a.png", HEIGHT, WIDTH)
    write_image(tmp_path / "PNGImages/b.png", HEIGHT, WIDTH)
    write_labels(tmp_path / "PedMasks/a_mask.png", square(1))
    dataset = open_dataset(tmp_path / "PedMasks", tmp_path / "PNGImages", format="masks")
    assert [len(sample) for sample in dataset] == [1, 0]


def test_mistakes(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png", HEIGHT, WIDTH)
    stray = write_labels(tmp_path / "masks/c.png", square(1))
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)
    assert str(caught.value) == f"{stray}: expected the masks of an image; none of a is c"
    stray.unlink()
    lossy = write_image(tmp_path / "masks/a/1.jpg", HEIGHT, WIDTH)
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)
    assert str(caught.value) == f"{lossy}: expected a mask as PNG or TIFF; a .jpg file does not keep its pixels"
    lossy.unlink()
    second = write_labels(tmp_path / "masks/a_mask.png", square(1))
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)
    first = tmp_path / "masks/a"
    assert str(caught.value) == f"{second}: expected one place for the masks of a; {first} is another"
    second.unlink()
    small = write_labels(first / "1.png", square(1)[1:])
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)[0]
    assert str(caught.value) == f"{small}: expected 24 x 20 pixels (width x height), as a.png has; got 24 x 19"
    write_image(tmp_path / "images/a.jpg", HEIGHT, WIDTH)
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'images'}: expected one image of each name; got a.jpg and a.png"


def test_a_folder_of_an_image_without_its_image(tmp_path: Path) -> None:
    write_labels(tmp_path / "a/masks/1.png", square(1))
    (tmp_path / "a/images").mkdir()
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'a/images'}: expected one image; found 0"
