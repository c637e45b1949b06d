"""Files, folders and globs: what they stand for, in which order, under which names."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from fastmrcnn.errors import UserError
from fastmrcnn.inference.pictures import Pictures
from fastmrcnn.inference.sources import find_images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("img10.jpg", "img2.PNG", "img1.jpg", "notes.txt", "deep/img3.jpg"):
        (folder / name).touch()
    return folder


def test_a_folder_in_natural_order(photos: Path) -> None:
    assert [path.name for path in find_images([photos])] == ["img1.jpg", "img2.PNG", "img10.jpg"]


def test_globs_files_and_no_file_twice(photos: Path) -> None:
    found = find_images([f"{photos}/img10.jpg", f"{photos}/**/*.jpg", photos])
    assert [path.name for path in found] == ["img10.jpg", "img3.jpg", "img1.jpg", "img2.PNG"]


def test_a_file_with_brackets_is_no_glob(photos: Path) -> None:
    odd = photos / "a[1].jpg"
    odd.touch()
    assert find_images([odd]) == [odd]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jpg", "missing.jpg: expected an image file, a folder or a glob; there is no such file"),
        ("*.bmp", "*.bmp: expected a glob with images"),
        ("empty", "empty: expected a folder with images"),
    ],
)
def test_sources_without_images(photos: Path, source: str, message: str) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        find_images([photos / source])
    assert message in str(caught.value)


def test_no_source() -> None:
    with pytest.raises(UserError, match="expected at least one file, folder or glob; got none"):
        find_images([])


def test_stems_are_unique_in_any_case() -> None:
    pictures = Pictures(["a/cat.jpg", "b/Cat.png", "c/cat.jpg", "cat-2.jpg", "dog.jpg"])
    assert [picture.name for picture in pictures] == ["cat", "Cat-2", "cat-3", "cat-2-2", "dog"]
    assert [picture.place for picture in pictures[3:]] == [3, 4]


def test_a_picture_in_waiting_takes_little_memory() -> None:
    paths = [f"folder/photo-{number:06}.jpg" for number in range(20_000)]
    tracemalloc.start()
    pictures = Pictures(paths)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert pictures[19_999].name == "photo-019999"
    assert kept < 20_000 * 30  # bytes: a reference to the path and two numbers
