"""Images read window by window: the same pixels as those of the whole image, of every kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fastmrcnn.structures.tiff_windows as tiff_windows_module
import fastmrcnn.structures.windows as windows_module
from fastmrcnn.errors import UserError
from fastmrcnn.structures import PixelFormat, as_image_tensor, image_pages
from fastmrcnn.structures.images import read_image_size
from fastmrcnn.structures.windows import ImageWindows, open_windows

HEIGHT, WIDTH = 75, 110


def pixels(channels: int, dtype: type = np.uint8) -> np.ndarray:
    drawn = np.random.default_rng(channels).integers(0, 256, (HEIGHT, WIDTH, channels))
    if dtype is np.float32:
        return (drawn / 255).astype(np.float32)
    return (drawn * (257 if dtype is np.uint16 else 1)).astype(dtype)


def check(windows: ImageWindows, expected: torch.Tensor) -> None:
    """Windows of all kinds: the whole, single pixels, across tiles and strips, and in the corners."""
    assert windows.size == tuple(expected.shape[1:])
    rng = np.random.default_rng(0)
    places = [(0, 0, *windows.size), (0, 0, 1, 1), (windows.size[0] - 1, windows.size[1] - 1, 1, 1)]
    for _ in range(12):
        top, left = (int(rng.integers(0, side)) for side in windows.size)
        bottom, right = (
            int(rng.integers(first + 1, side + 1)) for first, side in zip((top, left), windows.size, strict=True)
        )
        places.append((top, left, bottom - top, right - left))
    for top, left, height, width in places:
        part = windows.read(top, left, height, width)
        assert part.dtype == expected.dtype
        assert torch.equal(part, expected[:, top : top + height, left : left + width])


@pytest.mark.parametrize("kind", ["array", "grey array", "float array", "tensor", "pillow", "palette", "turned"])
def test_of_what_lies_in_memory(kind: str) -> None:
    image = Image.fromarray(pixels(3))
    turned = image.copy()
    turned.getexif()[0x0112] = 6
    source: Any = {
        "array": pixels(4),
        "grey array": pixels(1)[:, :, 0],
        "float array": pixels(3, np.float32),
        "tensor": torch.from_numpy(pixels(3)).permute(2, 0, 1),
        "pillow": image,
        "palette": image.quantize(16),
        "turned": turned,
    }[kind]
    with open_windows(source) as windows:
        check(windows, as_image_tensor(source))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "deep.png", "a.npy", "deep.npy", "turned.jpg"])
def test_of_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, pixels(3, np.uint16 if "deep" in name else np.uint8))
    elif name == "deep.png":
        Image.fromarray(pixels(1, np.uint16)[:, :, 0]).save(path)
    else:
        exif = Image.Exif()
        exif[0x0112] = 8 if "turned" in name else 1
        Image.fromarray(pixels(3)).save(path, exif=exif)
    with open_windows(path) as windows:
        check(windows, as_image_tensor(path))


@pytest.mark.parametrize(
    ("channels", "dtype", "options"),
    [
        (3, np.uint8, {}),
        (3, np.uint8, {"byteorder": ">"}),
        (3, np.uint8, {"tile": (32, 48)}),
        (3, np.uint8, {"tile": (32, 48), "compression": "zlib"}),
        (3, np.uint8, {"rowsperstrip": 7, "compression": "zlib"}),
        (3, np.uint16, {"rowsperstrip": 7, "byteorder": ">", "compression": "zlib"}),
        (4, np.uint8, {"tile": (16, 16), "extrasamples": ["unassalpha"]}),
        (5, np.uint16, {"planarconfig": "separate"}),
        (5, np.uint16, {"planarconfig": "separate", "tile": (32, 48), "compression": "zlib"}),
        (1, np.float32, {"tile": (32, 48)}),
        (1, np.uint8, {}),
    ],
    ids=str,
)
def test_of_tiff_files(tmp_path: Path, channels: int, dtype: type, options: dict[str, Any]) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile, which writes the files, is not installed")
    image = pixels(channels, dtype)
    if options.get("planarconfig") == "separate":
        image = image.transpose(2, 0, 1)
    elif channels == 1:
        image = image[:, :, 0]
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb" if channels in (3, 4) else "minisblack", **options)
    wanted = PixelFormat(channels=5) if channels == 5 else PixelFormat()
    with open_windows(tmp_path / "a.tif", wanted) as windows:
        check(windows, as_image_tensor(tmp_path / "a.tif", wanted))


def test_of_pages_and_of_slides_with_reduced_copies(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile, which writes the files, is not installed")
    with tifffile.TiffWriter(tmp_path / "pages.tif") as writer:
        for channels in (3, 4, 3):
            writer.write(pixels(channels)[..., :3], tile=(32, 32), photometric="rgb")
    assert tiff_windows_module.open_page(tmp_path / "pages.tif") is None  # of several pictures none is meant
    for page in image_pages(tmp_path / "pages.tif"):
        with open_windows(page) as windows:
            assert type(windows).__name__ == "_Tiff"
            check(windows, as_image_tensor(page))
    with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:
        writer.write(pixels(3), tile=(32, 32), photometric="rgb")
        writer.write(pixels(3)[::2, ::2], tile=(32, 32), photometric="rgb", subfiletype=1)
    with open_windows(tmp_path / "slide.tif") as windows:
        assert type(windows).__name__ == "_Tiff"
        check(windows, as_image_tensor(tmp_path / "slide.tif"))


def test_a_tiff_is_not_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile, which writes the files, is not installed")
    tifffile.imwrite(tmp_path / "a.tif", pixels(3), tile=(16, 16), compression="zlib", photometric="rgb")
    expected = as_image_tensor(tmp_path / "a.tif")
    monkeypatch.setattr(tiff_windows_module, "_KEPT", 3 * 16 * 16 * 3)
    page = tiff_windows_module.open_page(tmp_path / "a.tif")
    assert page is not None
    for top in range(0, 64, 16):
        for left in range(0, 96, 16):
            part = page.read(top, left, 16, 16)
            assert np.array_equal(part.transpose(2, 0, 1), expected[:, top : top + 16, left : left + 16])
            assert len(page._decoded) <= 3
    page.close()


def test_strips_are_decoded_once_however_many_a_window_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile, which writes the files, is not installed")
    tifffile.imwrite(tmp_path / "a.tif", pixels(3), rowsperstrip=5, compression="zlib", photometric="rgb")
    monkeypatch.setattr(tiff_windows_module, "_KEPT", 1)
    page = tiff_windows_module.open_page(tmp_path / "a.tif")
    assert page is not None
    page.read(8, 0, 20, 16)
    before = {number: id(segment) for number, segment in page._decoded.items()}
    page.read(8, 16, 20, 16)
    assert {number: id(segment) for number, segment in page._decoded.items()} == before
    assert list(before) == [1, 2, 3, 4, 5]
    page.close()


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg"])
def test_what_needs_imagecodecs_is_read_without_it(tmp_path: Path, compression: str) -> None:
    """In windows where it is installed, whole where not; the pixels are the same."""
    Image.fromarray(pixels(3)).save(tmp_path / "a.tif", compression=compression)
    with open_windows(tmp_path / "a.tif") as windows:
        check(windows, as_image_tensor(tmp_path / "a.tif"))


def test_other_tiffs_are_decoded_whole(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile, which writes the files, is not installed")
    Image.fromarray(pixels(3)).quantize(16).save(tmp_path / "palette.tif")
    tifffile.imwrite(tmp_path / "turned.tif", pixels(3), photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    Image.fromarray(pixels(3)).save(tmp_path / "a.png")
    (tmp_path / "png.tif").write_bytes((tmp_path / "a.png").read_bytes())
    for name in ("palette", "turned", "png"):
        assert tiff_windows_module.open_page(tmp_path / f"{name}.tif") is None
        with open_windows(tmp_path / f"{name}.tif") as windows:
            check(windows, as_image_tensor(tmp_path / f"{name}.tif"))


def test_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_module, "_BAND", 20)
    image = pixels(3)
    with open_windows(image) as windows:
        small, factor = windows.reduced(40)
        assert (small.shape, small.dtype, factor) == (torch.Size([3, 25, 37]), torch.uint8, 3)
        for y, x in ((0, 0), (24, 36), (7, 11)):
            mean = image[3 * y : 3 * y + 3, 3 * x : 3 * x + 3].reshape(-1, 3).mean(axis=0)
            assert np.abs(small[:, y, x].numpy() - mean).max() <= 0.5
        whole, factor = windows.reduced(110)
        assert factor == 1
        assert torch.equal(whole, as_image_tensor(image))
    with open_windows(pixels(1, np.float32)) as windows:
        assert windows.reduced(10)[0].is_floating_point()


def test_errors_name_the_image(tmp_path: Path) -> None:
    for source, message in (
        (np.zeros((4, 5, 7), np.uint8), r"image: expected an array .*; got \[4, 5, 7\]"),
        (tmp_path / "none.npy", "none.npy: expected an image file; there is no such file"),
        (tmp_path / "none.tif", "none.tif: expected an image file; there is no such file"),
        (tmp_path / "none.jpg", "none.jpg: expected an image file; there is no such file"),
        (4, "image: expected a path, a Pillow image, a numpy array or a tensor; got int"),
    ):
        with pytest.raises(UserError, match=message):
            open_windows(source)  # type: ignore[arg-type]
    bright = np.full((8, 8), 2.0, np.float32)
    np.save(tmp_path / "bright.npy", bright)
    with open_windows(tmp_path / "bright.npy") as windows, pytest.raises(UserError, match=r"bright.npy: .* got 2 to 2"):
        windows.read(0, 0, 2, 2)


def test_images_beyond_pillows_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(pixels(3)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_image_size(tmp_path / "large.png") == (HEIGHT, WIDTH)
    with open_windows(tmp_path / "large.png") as windows:
        check(windows, torch.from_numpy(pixels(3)).permute(2, 0, 1))
    assert Image.MAX_IMAGE_PIXELS == 1000  # other people's images are not our affair
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "large.png")
