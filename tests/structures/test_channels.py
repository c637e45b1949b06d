"""Images of one to many channels, of 8 and 16 bits: the same pixels from every kind of source."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastmrcnn.errors import UserError
from fastmrcnn.structures import EVERY_CHANNEL, RGB, PixelFormat, as_image_tensor, read_image
from fastmrcnn.structures.images import read_image_size
from tests.structures.deep_png import write_deep_png

GREY = PixelFormat(channels=1)


def random_pixels(channels: int, dtype: type = np.uint8, top: int | None = None) -> np.ndarray:
    """[6, 5, channels]"""
    top = np.iinfo(dtype).max if top is None else top
    return np.random.default_rng(channels).integers(0, top + 1, (6, 5, channels), dtype=dtype)


def as_expected(pixels: np.ndarray, white: int = 65535) -> torch.Tensor:
    """What a reader shall give for pixels [H, W, C], uint8 or uint16."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1).astype(np.float64)))
    return tensor.to(torch.uint8) if pixels.dtype == np.uint8 else (tensor / white).float()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 12])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_tensors_and_array_files_agree(tmp_path: Path, channels: int, dtype: type) -> None:
    pixels, wanted = random_pixels(channels, dtype), PixelFormat(channels)
    expected = as_expected(pixels)
    np.save(tmp_path / "field.npy", pixels)
    assert read_image_size(tmp_path / "field.npy") == (6, 5)
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    for source in (pixels, tmp_path / "field.npy", tensor):
        found = as_image_tensor(source, wanted)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


@pytest.mark.parametrize("white", [4095, 65535])
def test_white_of_sixteen_bits(tmp_path: Path, white: int) -> None:
    pixels = random_pixels(3, np.uint16, top=white)
    pixels[0, 0] = white
    expected, wanted = as_expected(pixels, white), PixelFormat(white_level=white)
    assert expected.max() == 1
    write_deep_png(tmp_path / "deep.png", pixels)
    np.save(tmp_path / "deep.npy", pixels)
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    for source in (pixels, tensor, tmp_path / "deep.npy", tmp_path / "deep.png"):
        assert torch.equal(as_image_tensor(source, wanted), expected)
    grey = Image.fromarray(pixels[:, :, 0])
    assert torch.equal(as_image_tensor(grey, PixelFormat(1, white)), expected[:1])


def test_a_number_above_white_is_refused(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 3), 5000, np.uint16)
    write_deep_png(tmp_path / "deep.png", pixels)
    for source in (pixels, torch.from_numpy(pixels).permute(2, 0, 1), tmp_path / "deep.png"):
        with pytest.raises(
            UserError, match=r"expected values in 0\.\.4095 in .* of 16 bits; got 5000 to 5000 \(white_l"
        ) as caught:
            as_image_tensor(source, PixelFormat(white_level=4095))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_pngs_keep_all_bits(tmp_path: Path, channels: int) -> None:
    pixels = random_pixels(channels, np.uint16)
    path = tmp_path / "deep.png"
    write_deep_png(path, pixels)
    assert torch.equal(read_image(path, PixelFormat(channels)), as_expected(pixels))
    pixels[:, :, -1:] = 65535 if channels != 3 else pixels[:, :, -1:]  # opaque
    write_deep_png(path, pixels)
    colour = as_expected(pixels)[: 3 if channels > 2 else 1]
    torch.testing.assert_close(read_image(path), colour.expand(3, -1, -1), rtol=0, atol=0)


def test_a_deep_png_has_the_colour_that_stands_for_no_paint(tmp_path: Path) -> None:
    pixels = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint16)
    write_deep_png(tmp_path / "deep.png", pixels, transparent=(1, 2, 3))
    found = read_image(tmp_path / "deep.png")
    assert found[:, 0, 0].tolist() == [1, 1, 1]
    assert found[0, 0, 1] == 1 / np.float32(65535)


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "F"])
def test_one_channel_takes_grey_as_it_is(mode: str) -> None:
    image = Image.new(mode, (5, 6), 1)
    found = as_image_tensor(image, GREY)
    assert found.shape == (1, 6, 5)
    assert torch.equal(found.expand(3, -1, -1), as_image_tensor(image))


def test_one_channel_takes_colour_that_is_grey_and_no_other(tmp_path: Path) -> None:
    grey = random_pixels(1)
    Image.fromarray(np.repeat(grey, 3, axis=2)).save(tmp_path / "grey.png")
    assert torch.equal(read_image(tmp_path / "grey.png", GREY), as_expected(grey))
    Image.fromarray(random_pixels(3)).save(tmp_path / "colour.png")
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / "colour.png", GREY)
    found = "found 3 (red, green and blue) that differ"
    assert str(caught.value) == f"{tmp_path / 'colour.png'}: expected an image with 1 channel; {found}"


@pytest.mark.parametrize(("mode", "channels"), [("LA", 2), ("RGBA", 4), ("CMYK", 4)])
def test_pillow_images_of_several_bands_as_they_are(mode: str, channels: int) -> None:
    pixels = random_pixels(channels)
    image = Image.frombytes(mode, (5, 6), pixels.tobytes())
    assert torch.equal(as_image_tensor(image, PixelFormat(channels)), as_expected(pixels))
    assert as_image_tensor(image).shape == (3, 6, 5)


def test_every_channel_but_alpha() -> None:
    assert as_image_tensor(random_pixels(7), EVERY_CHANNEL).shape[0] == 7
    assert as_image_tensor(random_pixels(1)[:, :, 0], EVERY_CHANNEL).shape[0] == 1
    assert torch.equal(as_image_tensor(random_pixels(4), EVERY_CHANNEL), as_image_tensor(random_pixels(4)))
    assert as_image_tensor(Image.new("RGBA", (5, 6)), EVERY_CHANNEL).shape[0] == 3
    assert as_image_tensor(Image.new("L", (5, 6)), EVERY_CHANNEL).shape[0] == 1


@pytest.mark.parametrize(
    ("source", "wanted", "message"),
    [
        (random_pixels(5), RGB, "expected an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; got [6, 5, 5]"),
        (random_pixels(3), PixelFormat(5), "image: expected an array [H, W, 5]; got [6, 5, 3]"),
        (random_pixels(2), GREY, "expected an array [H, W] or [H, W, 1]; got [6, 5, 2]"),
        (torch.zeros(3, 6, 5), PixelFormat(5), "image: expected a tensor [5, H, W]; got [3, 6, 5]"),
        (torch.zeros(6, 5, 5), PixelFormat(5), "got [6, 5, 5] (channels last: use tensor.permute(2, 0, 1))"),
        (np.zeros((5, 8, 9), np.uint8), PixelFormat(5), "got [5, 8, 9] (channels first: pass torch.from_numpy(array))"),
        (torch.zeros(4, 6, 5), RGB, "expected a tensor [3, H, W] or [1, H, W]; got [4, 6, 5]"),
        (Image.new("L", (5, 6)), PixelFormat(5), "image: expected an image with 5 channels; found 1"),
        (Image.new("RGBA", (5, 6)), PixelFormat(5), "image: expected an image with 5 channels; found 4"),
        (Image.new("RGB", (5, 6)), PixelFormat(4), "image: expected an image with 4 channels; found 3"),
        (np.zeros(5, np.uint8), EVERY_CHANNEL, "expected an array [H, W] or [H, W, channels]; got [5]"),
    ],
)
def test_another_number_of_channels_is_refused(source: object, wanted: PixelFormat, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        as_image_tensor(source, wanted)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("channels", 0), ("white_level", 0), ("white_level", 65536)])
def test_formats_that_cannot_be(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"PixelFormat: {field} must .*; got {value}"):
        PixelFormat(**{field: value})


def test_damaged_array_files(tmp_path: Path) -> None:
    path = tmp_path / "field.npy"
    for content, cause in ((b"", "it does not decode"), (b"\x93NUMPY", "it does not decode"), (None, "no such file")):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        for read in (read_image, read_image_size):
            with pytest.raises(UserError, match=cause) as caught:
                read(path)
            assert str(caught.value).startswith(f"{path}: expected an image file; ")
            assert "\n" not in str(caught.value)
    np.save(path, np.array([{"not": "pixels"}], dtype=object))
    with pytest.raises(UserError, match="expected an image file; it does not decode: Object arrays cannot be loaded"):
        read_image(path)
    np.save(path, np.zeros((2, 3, 4, 5), np.uint8))
    with pytest.raises(UserError, match=r"expected an array \[H, W\] or \[H, W, channels\]; got \[2, 3, 4, 5\]"):
        read_image_size(path)


class TestTiff:
    """Files that Pillow does not read, or not in full."""

    @pytest.fixture
    def tifffile(self) -> object:
        return pytest.importorskip("tifffile")

    @pytest.mark.parametrize("layout", ["side by side", "planes", "pages", "ImageJ", "big endian"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_bands_however_they_lie(self, tifffile: object, tmp_path: Path, layout: str, dtype: type) -> None:
        pixels = random_pixels(5, dtype)
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        stored, options = {
            "side by side": (pixels, {"planarconfig": "contig", "compression": "zlib"}),
            "planes": (planes, {"planarconfig": "separate"}),
            "pages": (planes, {}),
            "ImageJ": (planes, {"imagej": True, "metadata": {"axes": "CYX"}}),
            "big endian": (pixels, {"planarconfig": "contig", "byteorder": ">"}),
        }[layout]
        path = tmp_path / "field.tif"
        tifffile.imwrite(path, stored, photometric="minisblack", **options)  # type: ignore[attr-defined]
        assert torch.equal(read_image(path, PixelFormat(5)), as_expected(pixels))
        assert read_image_size(path) == (6, 5)
        with pytest.raises(UserError, match=re.escape(f"{path}: expected an image with 4 channels; found 5")):
            read_image(path, PixelFormat(4))

    @pytest.mark.parametrize("channels", [3, 4])
    def test_colour_of_sixteen_bits(self, tifffile: object, tmp_path: Path, channels: int) -> None:
        pixels = random_pixels(channels, np.uint16)
        pixels[:, :, 3:] = 65535
        tifffile.imwrite(tmp_path / "deep.tif", pixels, photometric="rgb")  # type: ignore[attr-defined]
        assert torch.equal(read_image(tmp_path / "deep.tif"), as_expected(pixels)[:3])

    def test_eight_bits_of_colour_are_those_of_pillow(self, tifffile: object, tmp_path: Path) -> None:
        pixels = random_pixels(4)
        Image.fromarray(pixels).save(tmp_path / "colour.tif")
        assert torch.equal(read_image(tmp_path / "colour.tif"), as_image_tensor(pixels))
        assert torch.equal(read_image(tmp_path / "colour.tif", PixelFormat(4)), as_expected(pixels))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation(self, tifffile: object, tmp_path: Path, orientation: int) -> None:
        """As Pillow turns the first band, so all are turned."""
        pixels, path = random_pixels(5), tmp_path / "field.tif"
        tag = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig", extratags=tag)  # type: ignore[attr-defined]
        found = read_image(path, PixelFormat(5))
        exif = Image.Exif()
        exif[274] = orientation
        for band in range(5):
            Image.fromarray(pixels[:, :, band]).save(tmp_path / "band.png", exif=exif)
            assert torch.equal(found[band], read_image(tmp_path / "band.png", GREY)[0])
        assert read_image_size(path) == tuple(found.shape[1:])

    def test_a_stack_of_stacks_is_no_image(self, tifffile: object, tmp_path: Path) -> None:
        path = tmp_path / "stack.tif"
        stack = np.zeros((2, 3, 8, 9), np.uint8)
        tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZCYX"})  # type: ignore[attr-defined]
        with pytest.raises(UserError, match=r"whose bands are one axis; found axes ZCYX of 2 x 3 x 8 x 9"):
            read_image(path, PixelFormat(3 * 2))

    def test_a_damaged_file_is_one_line(self, tifffile: object, tmp_path: Path) -> None:
        path, cut = tmp_path / "field.tif", tmp_path / "cut.tif"
        tifffile.imwrite(path, random_pixels(5), photometric="minisblack", planarconfig="contig")  # type: ignore[attr-defined]
        content = path.read_bytes()
        for length in range(0, len(content), 8):
            cut.write_bytes(content[:length])
            with pytest.raises(UserError) as caught:
                read_image(cut, PixelFormat(5))
            assert re.match(rf"{re.escape(str(cut))}: expected an image", str(caught.value))
            assert "\n" not in str(caught.value)

    def test_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "field.tif"
        Image.fromarray(random_pixels(4)).save(path)
        monkeypatch.setitem(sys.modules, "tifffile", None)
        assert read_image(path).shape == (3, 6, 5)
        with pytest.raises(
            UserError, match=re.escape("that the package tifffile reads (pip install tifffile imagecodecs)")
        ):
            read_image(path, PixelFormat(4))
