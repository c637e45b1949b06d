"""Everything that may be handed over as an image, and how the rest is refused."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from fastmrcnn.errors import UserError
from fastmrcnn.structures import as_image_tensor, image_size, read_image
from fastmrcnn.structures.images import read_image_size

RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]
small_images = npst.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


def corners() -> np.ndarray:
    """uint8 [2, 3, 3]: red, black, green over blue, black, white: no two orientations look alike."""
    return np.array([[RED, [0, 0, 0], GREEN], [BLUE, [0, 0, 0], WHITE]], dtype=np.uint8)


def test_path_string_and_pillow_image_give_the_same_tensor(tmp_path: Path) -> None:
    path = tmp_path / "corners.png"
    Image.fromarray(corners()).save(path)
    expected = torch.from_numpy(corners()).permute(2, 0, 1)
    for source in (path, str(path), Image.fromarray(corners()), corners(), expected):
        tensor = as_image_tensor(source)
        assert tensor.dtype == torch.uint8
        assert torch.equal(tensor, expected)
    assert torch.equal(read_image(path), expected)


@given(small_images)
def test_array_and_tensor_of_the_same_pixels_agree(pixels: np.ndarray) -> None:
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    assert torch.equal(as_image_tensor(pixels), tensor)
    assert torch.equal(as_image_tensor(tensor), tensor)
    fractions = as_image_tensor((pixels / 255).astype(np.float64))
    assert fractions.dtype == torch.float32
    torch.testing.assert_close(fractions * 255, tensor.float())


@given(small_images)
def test_array_layouts_do_not_matter(pixels: np.ndarray) -> None:
    expected = as_image_tensor(pixels)
    read_only = pixels.copy()
    read_only.flags.writeable = False
    reversed_twice = np.ascontiguousarray(pixels[::-1, ::-1])[::-1, ::-1]  # negative strides
    for array in (read_only, reversed_twice, np.asfortranarray(pixels)):
        assert torch.equal(as_image_tensor(array), expected)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_grey_array_becomes_three_equal_channels(shape: tuple[int, ...]) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(shape)
    assert torch.equal(as_image_tensor(grey), torch.arange(20, dtype=torch.uint8).reshape(1, 4, 5).expand(3, -1, -1))


def test_alpha_shows_white_behind() -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    expected = torch.tensor([RED, WHITE, [204, 204, 204]], dtype=torch.uint8).T[:, None]
    assert torch.equal(as_image_tensor(rgba), expected)
    assert torch.equal(as_image_tensor(Image.fromarray(rgba)), expected)
    torch.testing.assert_close(as_image_tensor(rgba / 255.0), expected / 255)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_every_pillow_mode_is_read(mode: str) -> None:
    tensor = as_image_tensor(Image.new(mode, (5, 4)))
    assert tensor.dtype == torch.uint8
    assert tensor.shape == (3, 4, 5)


def test_one_bit_image_is_black_and_white() -> None:
    image = Image.fromarray(np.array([[True, False]]))
    assert image.mode == "1"
    assert as_image_tensor(image)[0].tolist() == [[255, 0]]


def test_palette_with_transparency_in_bytes(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([*RED, *GREEN])
    path = tmp_path / "palette.png"
    image.save(path, transparency=b"\xff\x00")
    assert read_image(path).permute(1, 2, 0).tolist() == [[RED, WHITE]]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_keep_their_depth(mode: str) -> None:
    image = Image.new(mode, (3, 1))
    for x, value in enumerate((0, 257 * 128 + 1, 65535)):
        image.putpixel((x, 0), value)
    tensor = as_image_tensor(image)
    assert tensor.shape == (3, 1, 3)
    assert torch.equal(tensor[1], torch.tensor([[0, (257 * 128 + 1) / 65535, 1]]))


def test_floating_point_images_keep_their_depth() -> None:
    assert torch.equal(as_image_tensor(Image.new("F", (2, 1), 0.3)), torch.full((3, 1, 2), 0.3))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_arrays_and_tensors_of_sixteen_bits(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    pixels[..., 3:] = 65535  # opaque
    expected = as_image_tensor((pixels / 65535).astype(np.float32))
    assert torch.equal(as_image_tensor(pixels), expected)
    if shape[-1] != 4:
        channels_first = np.ascontiguousarray(pixels.reshape(4, 5, -1).transpose(2, 0, 1))
        torch.testing.assert_close(as_image_tensor(torch.from_numpy(channels_first)), expected)


def test_sixteen_bit_png_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(path)
    assert read_image(path)[2].tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "f4", "f8"])
def test_tiffs_whose_white_is_zero(tmp_path: Path, dtype: str) -> None:
    """As scanners and X-ray machines write them; Pillow turns those of 8 bits round, and no others."""
    tifffile = pytest.importorskip("tifffile")
    stored = np.array([[0, {"1": 255, "2": 65535}.get(dtype[-1], 1)]]).astype(dtype)
    path = tmp_path / "x-ray.tif"
    tifffile.imwrite(path, stored, photometric="miniswhite", byteorder=">" if ">" in dtype else "<")
    assert read_image(path)[0].tolist() == ([[255, 0]] if dtype == "u1" else [[1, 0]])


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    """Every orientation of the stored pixels shows the same upright picture."""
    stored = {  # how a camera turned so stores the upright picture (EXIF 2.3, tag 0x0112)
        1: lambda upright: upright,
        2: lambda upright: upright[:, ::-1],
        3: lambda upright: upright[::-1, ::-1],
        4: lambda upright: upright[::-1],
        5: lambda upright: upright.transpose(1, 0, 2),
        6: lambda upright: np.rot90(upright),
        7: lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
        8: lambda upright: np.rot90(upright, -1),
    }[orientation](corners())
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, lossless=True)
    assert torch.equal(read_image(path), torch.from_numpy(corners()).permute(2, 0, 1))
    assert read_image_size(path) == (2, 3)
    with Image.open(path) as image:
        assert image_size(image) == (2, 3)
        assert torch.equal(as_image_tensor(image), read_image(path))


def test_pictures_of_phones(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    picture = np.kron(corners(), np.ones((32, 32, 1), np.uint8))
    path = tmp_path / "IMG_1.HEIC"
    heif.from_pillow(Image.fromarray(picture)).save(path, quality=-1)  # without loss
    assert read_image_size(path) == (64, 96)
    assert (read_image(path).permute(1, 2, 0).numpy().astype(int) - picture)[8:-8:16, 8:-8:16] == pytest.approx(
        0, abs=3
    )


def test_pictures_of_phones_name_the_package_that_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for read in (read_image, read_image_size):
        with pytest.raises(
            UserError, match=r"IMG_1\.HEIC: expected the package pillow-heif, .*: pip install pillow-heif$"
        ):
            read(tmp_path / "IMG_1.HEIC")


def test_a_pillow_image_is_turned_upright_once(tmp_path: Path) -> None:
    """Pillow turns a TIFF upright by itself when its pixels are loaded, other formats not."""
    corner = np.zeros((4, 6), np.uint8)
    corner[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for suffix in ("tiff", "png"):
        path = tmp_path / f"photo.{suffix}"
        Image.fromarray(corner).save(path, exif=exif)
        with Image.open(path) as opened:
            pixels = as_image_tensor(opened)
        assert torch.equal(pixels, read_image(path))
        assert pixels[0, -1, -1] == 255


def test_sixteen_bit_transparency_shows_white(tmp_path: Path) -> None:
    path = tmp_path / "x-ray.png"
    Image.fromarray(np.array([[0, 700], [700, 65535]], np.uint16)).save(path, transparency=700)
    assert read_image(path)[0].tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving.{suffix}"
    frames = [Image.new("RGB", (2, 2), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert read_image(path)[:, 0, 0].tolist() == RED


WRITTEN = [  # what Pillow writes of each mode
    *((mode, suffix) for mode in ("1", "L", "P", "RGB") for suffix in ("png", "tif", "gif", "bmp")),
    *(
        (mode, suffix)
        for mode in ("1", "L", "P", "RGB")
        for suffix in ("jpg", "webp")
        if mode != "P" or suffix == "webp"
    ),
    *(("LA", suffix) for suffix in ("png", "tif", "webp", "gif")),
    *(("RGBA", suffix) for suffix in ("png", "tif", "webp", "gif")),
    *(("CMYK", suffix) for suffix in ("tif", "jpg")),
    *(("YCbCr", suffix) for suffix in ("tif", "jpg")),
    *(("I;16", suffix) for suffix in ("png", "tif", "pgm")),
    *(("I", "tif"), ("I", "pgm"), ("F", "tif"), ("RGBX", "tif")),
]


@pytest.mark.parametrize(("mode", "suffix"), WRITTEN)
def test_files_of_every_mode_show_the_picture(tmp_path: Path, mode: str, suffix: str) -> None:
    """Left half black, right half white, opaque: whatever the file, that is what is seen."""
    picture = Image.new("L", (32, 16))
    picture.paste(255, (16, 0, 32, 16))
    if mode in ("I;16", "I", "F"):
        deep = np.array(picture).astype(np.float32) / 255
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray((deep * (1 if mode == "F" else 65535)).astype(kind))
    elif mode == "CMYK":
        image = picture.convert("RGB").convert("CMYK")
    else:
        image = (picture if mode in ("1", "L", "LA") else picture.convert("RGB")).convert(mode)
    path = tmp_path / f"halves.{suffix}"
    image.save(path)
    tensor = read_image(path)
    assert tensor.shape == (3, 16, 32)
    white = 255.0 if tensor.dtype == torch.uint8 else 1.0
    shown = tensor.float() / white
    assert float(shown[:, :, :15].max()) < 0.05
    assert float(shown[:, :, 17:].min()) > 0.95


def test_tensor_stays_what_it_is() -> None:
    image = torch.rand(3, 4, 5)
    assert as_image_tensor(image) is image
    assert as_image_tensor(image.double()).dtype == torch.float32
    assert as_image_tensor(image.half()).dtype == torch.float32


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (torch.full((3, 2, 2), float("nan")), "image: expected float values in 0..1; got nan to nan"),
        (torch.full((3, 2, 2), 255.0), "in 0..1; got 255 to 255 (divide by 255, or pass uint8)"),
        (np.full((2, 2, 4), 255.0), "in 0..1; got 255 to 255 (divide by 255, or pass uint8)"),
        (torch.full((3, 2, 2), -0.5), "image: expected float values in 0..1; got -0.5 to -0.5"),
        (torch.tensor([1.0, float("inf"), 0.0]).expand(2, 2, 3).permute(2, 0, 1), "got 0 to inf"),
        (torch.zeros(2, 4, 3), "expected a tensor [3, H, W] or [1, H, W]; got [2, 4, 3] (channels last: use tensor"),
        (torch.zeros(4, 4), "expected a tensor [3, H, W] or [1, H, W]; got [4, 4]"),
        (torch.zeros(1, 3, 4, 4), "expected a tensor [3, H, W] or [1, H, W]; got [1, 3, 4, 4]"),
        (torch.zeros(3, 0, 4), "expected at least one pixel; got [3, 0, 4]"),
        (
            torch.zeros(3, 4, 4, dtype=torch.int64),
            "expected a uint8 or uint16 tensor, or float in 0..1; got torch.int64",
        ),
        (np.zeros((3, 4, 5), np.uint8), "got [3, 4, 5] (channels first: pass torch.from_numpy(array))"),
        (np.zeros((4, 5, 2), np.uint8), "expected an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; got [4, 5, 2]"),
        (np.zeros((4, 0, 3), np.uint8), "expected at least one pixel; got [3, 4, 0]"),
        (np.zeros((4, 5, 3), np.int32), "expected a uint8 or uint16 array, or float in 0..1; got int32"),
        (np.full((4, 5, 3), np.nan), "expected float values in 0..1; got nan to nan"),
        (Image.new("F", (2, 2), 7.0), "expected values in 0..1 in an image of mode F; got 7 to 7"),
        (Image.new("I", (2, 2), -3), "expected values in 0..65535 in an image of mode I; got -3 to -3"),
        (Image.new("RGB", (0, 2)), "image: expected an image; got one of 0 x 2 pixels"),
        (None, "image: expected a path, a Pillow image, a numpy array or a tensor; got NoneType"),
        (b"png", "image: expected a path, a Pillow image, a numpy array or a tensor; got bytes"),
    ],
)
def test_what_is_no_image_is_refused(source: object, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        as_image_tensor(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_name_of_the_source_is_in_the_message() -> None:
    with pytest.raises(UserError, match=r"^images\[3\]: expected a tensor"):
        as_image_tensor(torch.zeros(4, 4), name="images[3]")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "there is no such file"),
        (b"", "the file is empty"),
        (b"not a picture", "it is in no image format, or damaged"),
    ],
)
def test_unreadable_file(tmp_path: Path, content: bytes | None, cause: str) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert str(caught.value) == f"{path}: expected an image file; {cause}"


def test_the_size_of_a_file_without_decoding_it(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:200])
    assert read_image_size(path) == (30, 40)
    with pytest.raises(UserError, match=r"none\.png: expected an image file; there is no such file$"):
        read_image_size(tmp_path / "none.png")


def test_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected an image file; this is a folder"):
        read_image(tmp_path)


def test_what_the_system_refuses_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    path = tmp_path / "photo.jpg" / "inner.jpg"
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert str(caught.value) == f"{path}: expected an image file; it cannot be read: Not a directory"


def test_a_pillow_image_of_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with Image.open(path) as opened, pytest.raises(UserError) as caught:
        as_image_tensor(opened)
    assert str(caught.value) == f"{path}: expected an image file; it does not decode: image file is truncated"


def read_or_refuse(path: Path) -> tuple[tuple[int, ...] | None, str]:
    """The shape of an image file, or None and the line that refuses it."""
    try:
        return tuple(read_image(path).shape), ""
    except UserError as error:
        return None, str(error)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_cut_off_file_is_refused_in_one_line_or_read(tmp_path: Path, suffix: str) -> None:
    """Wherever a file is cut, there is one clear line; never another exception, never a wrong shape."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(noise).save(whole)
    content, cut = whole.read_bytes(), tmp_path / f"cut.{suffix}"
    refused = 0
    for length in range(0, len(content), max(1, len(content) // 60)):
        cut.write_bytes(content[:length])
        shape, message = read_or_refuse(cut)
        assert "\n" not in message
        assert shape == (3, 16, 16) or message.startswith(f"{cut}: expected an image file; ")
        refused += shape is None
    assert refused > 20


def test_damaged_bytes_are_refused_in_one_line_or_read(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    path = tmp_path / "photo.jpg"
    Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    for _ in range(200):
        damaged = content.copy()
        damaged[generator.integers(0, len(content), 3)] = generator.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        shape, message = read_or_refuse(path)
        assert "\n" not in message
        assert len(shape or ()) == 3 or message.startswith(f"{path}: expected an image file; ")
