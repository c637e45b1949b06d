"""Files, folders and globs: what they stand for, in which order, under which names."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from fastmrcnn.errors import UserError
from fastmrcnn.inference.pictures import Pictures, numbered_names
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


def test_hidden_files_are_no_images(photos: Path) -> None:
    (photos / "._img1.jpg").touch()  # what macOS leaves beside each file on other file systems
    (photos / ".found.unfinished").mkdir()
    (photos / ".found.unfinished" / "img1.jpg").touch()
    assert [path.name for path in find_images([photos])] == ["img1.jpg", "img2.PNG", "img10.jpg"]
    assert len(find_images([f"{photos}/**/*.jpg"])) == 3


def test_links_in_circles_are_entered_once(photos: Path) -> None:
    for name in ("a", "b", "c"):  # of which each way holds all the others again
        (photos / "deep" / name).symlink_to(photos)
    (photos / "elsewhere").symlink_to(photos.parent / "elsewhere")
    (photos.parent / "elsewhere").mkdir()
    (photos.parent / "elsewhere" / "img[4].jpg").touch()
    names = [path.name for path in find_images([f"{photos}/**/*.jpg", f"{photos}/**", f"{photos}/**/deep/*"])]
    assert names == ["img3.jpg", "img[4].jpg", "img1.jpg", "img10.jpg", "img2.PNG"]


def test_one_file_has_many_paths(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    (photos / "link.jpg").symlink_to("img1.jpg")  # which is another one
    sources = ["img1.jpg", "./deep/../img1.jpg", photos / "img1.jpg", "link.jpg"]
    assert find_images(sources) == [Path("img1.jpg"), Path("link.jpg")]


def test_the_order_is_one_alone(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that compare equal as numbers come in the same order on any machine."""
    for name in ("IMG1.jpg", "img01.jpg", "img001.jpg"):
        (photos / name).touch()
    first = find_images([photos])
    in_order = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: in_order(folder)[::-1])
    assert find_images([photos]) == first


def test_a_list_names_images(photos: Path) -> None:
    listed = photos / "notes.txt"
    listed.write_text(f"deep/img3.jpg\n\n{photos}/img10.jpg\r\nimg1.jpg\n")
    assert [path.name for path in find_images([listed])] == ["img3.jpg", "img10.jpg", "img1.jpg"]
    listed.write_text("img1.jpg\nimg9.jpg\n")
    with pytest.raises(UserError, match=r"notes\.txt, line 2: expected an image file; there is no .*img9\.jpg"):
        find_images([listed])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jpg", "missing.jpg: expected an image file, a folder or a glob; there is no such file"),
        ("*.bmp", "*.bmp: expected a glob with images"),
        ("empty", "empty: expected a folder with images"),
        ("notes.txt", "notes.txt: expected a list of images, one on each line; it is empty"),
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
    with pytest.raises(UserError, match="expected a file, a folder or a glob; got an empty name"):
        find_images([""])


def test_stems_are_unique_in_any_case() -> None:
    pictures = Pictures(["a/cat.jpg", "b/Cat.png", "c/cat.jpg", "cat-2.jpg", "dog.jpg"])
    assert [picture.name for picture in pictures] == ["cat", "Cat-2", "cat-3", "cat-2-2", "dog"]
    assert [picture.place for picture in pictures[3:]] == [3, 4]


def test_equal_stems_take_no_longer_when_there_are_many() -> None:
    calls = 0

    class Name(str):
        def casefold(self) -> str:
            nonlocal calls
            calls += 1
            return super().casefold()

    renamed = numbered_names(Name("image") for _ in range(3000))
    assert renamed[2999] == "image-3000"
    assert calls < 4 * 3000


def test_a_picture_in_waiting_takes_little_memory() -> None:
    paths = [f"folder/photo-{number:06}.jpg" for number in range(20_000)]
    tracemalloc.start()
    pictures = Pictures(paths)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert pictures[19_999].name == "photo-019999"
    assert kept < 20_000 * 30  # bytes: a reference to the path and two numbers
