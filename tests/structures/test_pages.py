"""TIFF files of several pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from fastmrcnn.errors import UserError
from fastmrcnn.structures import ImagePage, PixelFormat, as_image_tensor, image_pages, image_size, read_image

PIXELS = np.random.default_rng(0)


def save_pages(path: Path, pages: list[Image.Image]) -> Path:
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(PIXELS.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_every_page_is_a_picture(tmp_path: Path) -> None:
    """Of any mode and size."""
    pages = [
        noise(8, 12),
        noise(5, 7).convert("L"),
        noise(6, 6).convert("P"),
        noise(9, 4).convert("1"),
        noise(4, 4).convert("CMYK"),
        Image.fromarray(PIXELS.integers(0, 65536, (3, 5), dtype=np.uint16)),
    ]
    found = image_pages(save_pages(tmp_path / "scan.tif", pages))
    assert found == [ImagePage(tmp_path / "scan.tif", frame) for frame in range(6)]
    for page, image in zip(found, pages, strict=True):
        assert torch.equal(as_image_tensor(page), as_image_tensor(image))
        assert image_size(page) == (image.height, image.width)
    assert torch.equal(read_image(tmp_path / "scan.tif"), as_image_tensor(pages[0]))


def test_thumbnails_and_masks_are_no_pictures(tmp_path: Path) -> None:
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "scan.tif"), new=True) as writer:
        for kind in (0, 1, 0, 4):  # the second page a reduced copy, the last one a mask
            info = TiffImagePlugin.ImageFileDirectory_v2()
            info[254] = kind
            noise(8, 12).save(writer, format="TIFF", tiffinfo=info)
            writer.newFrame()
    found = image_pages(tmp_path / "scan.tif")
    assert [page.frame for page in found] == [0, 2]
    assert str(found[1]) == f"{tmp_path / 'scan.tif'}, page 3"


def test_each_page_has_its_own_orientation(tmp_path: Path) -> None:
    upright = noise(6, 9)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.tif", exif=exif)
    with (
        Image.open(tmp_path / "turned.tif") as stored,
        TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "scan.tif"), new=True) as writer,
    ):
        upright.save(writer, format="TIFF")
        writer.newFrame()
        turned.save(writer, format="TIFF", exif=stored.getexif())
        writer.newFrame()
    for page in image_pages(tmp_path / "scan.tif"):
        assert torch.equal(as_image_tensor(page), as_image_tensor(upright))
        assert image_size(page) == (6, 9)


def test_other_files_are_one_picture(tmp_path: Path) -> None:
    for name in ("moving.gif", "moving.png", "moving.webp"):
        save_pages(tmp_path / name, [noise(4, 4), noise(4, 4)])
        assert image_pages(tmp_path / name) == [ImagePage(tmp_path / name, 0)]
    noise(4, 4).save(tmp_path / "photo.tif", format="PNG")
    assert len(image_pages(tmp_path / "photo.tif")) == 1
    np.save(tmp_path / "field.npy", np.zeros((4, 4, 3), np.uint8))
    assert len(image_pages(tmp_path / "field.npy")) == 1


def test_pages_of_deep_colour(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pages = PIXELS.integers(0, 65536, (3, 6, 8, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", pages, photometric="rgb")
    found = image_pages(tmp_path / "deep.tif")
    assert len(found) == 3
    for page, pixels in zip(found, pages, strict=True):
        assert torch.equal(as_image_tensor(page), as_image_tensor(pixels))
        assert image_size(page) == (6, 8)


def test_bands_lie_on_pages_or_every_page_has_them(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    wanted = PixelFormat(channels=5)
    bands = PIXELS.integers(0, 256, (5, 6, 8), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "planes.tif", bands, photometric="minisblack")
    assert len(image_pages(tmp_path / "planes.tif", wanted)) == 1
    assert len(image_pages(tmp_path / "planes.tif")) == 5  # five grey pictures, for a model of photographs
    several = PIXELS.integers(0, 256, (2, 6, 8, 5), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "several.tif", several, photometric="minisblack", planarconfig="contig")
    found = image_pages(tmp_path / "several.tif", wanted)
    assert len(found) == 2
    for page, pixels in zip(found, several, strict=True):
        assert torch.equal(as_image_tensor(page, wanted), torch.from_numpy(pixels).permute(2, 0, 1))


def test_a_page_that_is_damaged_or_missing(tmp_path: Path) -> None:
    path = save_pages(tmp_path / "scan.tif", [noise(16, 16) for _ in range(4)])
    with pytest.raises(UserError, match=r"scan\.tif, page 9: expected an image file; it does not decode: "):
        as_image_tensor(ImagePage(path, 8))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    found = image_pages(path)
    assert 1 < len(found) < 5
    as_image_tensor(found[0])
    with pytest.raises(
        UserError, match=re.escape(f"scan.tif, page {len(found)}: expected an image file; it does not decode")
    ):
        as_image_tensor(found[-1])
    with pytest.raises(UserError, match=r"none\.tif: expected an image file; there is no such file"):
        image_pages(tmp_path / "none.tif")
