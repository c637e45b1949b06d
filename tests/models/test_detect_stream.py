"""Many images in one call: their order, their batches, their threads, and how far ahead they are read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, tiny
from fastmrcnn.models.batching import MAX_PADDING, window_of
from fastmrcnn.models.detect_stream import detect_stream
from fastmrcnn.structures import Detections

SIZES = [(40, 64), (64, 41), (52, 52), (41, 64), (66, 40), (33, 97), (40, 66), (97, 31), (64, 40), (50, 53)]


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    """A random network that finds something."""
    torch.manual_seed(0)
    return MaskRCNN(tiny(("a", "b")))


@pytest.fixture
def images() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def assert_same(found: Detections, expected: Detections) -> None:
    for name in ("boxes", "scores", "labels", "mask_probs"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize("readers", [0, 1, 3])
def test_alone_an_image_gives_the_same_bits_in_any_company(
    model: MaskRCNN, images: list[np.ndarray], readers: int
) -> None:
    model.eval()
    with torch.inference_mode():
        expected = [model([torch.from_numpy(image).permute(2, 0, 1)])[0] for image in images]
    assert sum(map(len, expected)) > 10
    found = model.predict(images, readers=readers)
    for one, alone, image in zip(found, expected, images, strict=True):
        assert_same(one, alone)
        assert one.source is image


def test_results_come_in_the_order_of_the_images(model: MaskRCNN, images: list[np.ndarray]) -> None:
    found = model.predict(images, batch_size=3)
    assert [detections.image_size for detections in found] == SIZES
    assert all(detections.source is image for detections, image in zip(found, images, strict=True))


def test_batches_hold_images_of_like_shape(
    model: MaskRCNN, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Size, Tensor]] = []
    detect_batch = MaskRCNN.detect_batch

    def spied(self: MaskRCNN, pixels: Tensor, image_sizes: Tensor, *, packed: bool) -> object:
        seen.append((pixels.shape, image_sizes))
        return detect_batch(self, pixels, image_sizes, packed=packed)

    monkeypatch.setattr(MaskRCNN, "detect_batch", spied)
    model.predict(images, batch_size=4)
    divisor = model.config.input.size_divisor
    assert sum(shape[0] for shape, _ in seen) == len(images)
    assert max(shape[0] for shape, _ in seen) > 1
    for shape, sizes in seen:
        alone = (sizes + divisor - 1).div(divisor, rounding_mode="floor") * divisor  # the padding that each has anyway
        assert int(alone.prod(dim=1).sum()) >= (1 - MAX_PADDING) * shape[0] * shape[2] * shape[3]


def test_the_company_of_an_image_depends_on_its_window_alone(model: MaskRCNN) -> None:
    """So several processes, and a run that goes on, find what one does."""
    window, random = window_of(2), np.random.default_rng(0)
    images = [torch.rand(3, *random.integers(20, 60, 2).tolist()) for _ in range(2 * window + 3)]
    of_all = {place: found for place, _, found in detect_stream(model, enumerate(images), batch_size=2)}
    for first, last in ((window, 2 * window), (2 * window, len(images))):
        share = ((place, images[place]) for place in range(first, last))
        for place, _, found in detect_stream(model, share, batch_size=2, readers=2):
            assert_same(found, of_all.pop(place))
    assert sorted(of_all) == list(range(window))


def test_looking_ahead_is_bounded(model: MaskRCNN) -> None:
    asked: list[int] = []

    def endless() -> Iterator[tuple[int, Tensor]]:
        while True:
            asked.append(len(asked))
            yield asked[-1], torch.rand(3, 32, 32)

    for batch_size, most in ((1, 1 + 2), (2, 2 * window_of(2))):
        asked.clear()
        stream = detect_stream(model, endless(), batch_size=batch_size, readers=2)
        assert next(stream)[0] == 0
        assert len(asked) <= most
        stream.close()


def test_the_next_image_is_read_while_the_network_is_at_one(
    model: MaskRCNN, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network waits until the image after the next is resized, which only another thread can do meanwhile."""
    ready = [threading.Event() for _ in images]
    threads: set[str] = set()
    prepare, detect_prepared = type(model.transform).prepare, MaskRCNN.detect_prepared
    place_of = {image.shape[:2]: place for place, image in enumerate(images)}
    waited = []

    def spied_prepare(self: torch.nn.Module, image: Tensor) -> Tensor:
        threads.add(threading.current_thread().name)
        prepared = prepare(self, image)
        ready[place_of[tuple(image.shape[1:])]].set()
        return prepared

    def patient(self: MaskRCNN, batch: object, of: list[Tensor]) -> list[Detections]:
        place = place_of[tuple(of[0].shape[1:])]
        waited.append(all(event.wait(60) for event in ready[place : place + 3]))
        return detect_prepared(self, batch, of)

    monkeypatch.setattr(type(model.transform), "prepare", spied_prepare)
    monkeypatch.setattr(MaskRCNN, "detect_prepared", patient)
    model.predict(images, readers=2)
    assert waited == [True] * len(images)
    assert all(name.startswith("read_image") for name in threads)


def test_readers_leave_the_number_of_threads_as_it_was(model: MaskRCNN, images: list[np.ndarray]) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    model.predict(images, readers=3)
    new = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert (torch.get_num_threads(), seen) == (before, [before])


def test_warnings_come_through_when_images_were_read(model: MaskRCNN, images: list[np.ndarray], tmp_path: Path) -> None:
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    before = list(warnings.filters)
    model.predict(paths, readers=3)
    assert warnings.filters == before


def test_an_iterator_may_use_its_buffer_again(model: MaskRCNN, images: list[np.ndarray], tmp_path: Path) -> None:
    frames = [image[:31, :31] for image in images[:4]]

    def buffered() -> Iterator[np.ndarray]:
        buffer = np.zeros((31, 31, 3), np.uint8)
        for frame in frames:
            buffer[:] = frame
            yield buffer

    expected = model.predict(frames)
    for found, one in zip(model.predict(buffered()), expected, strict=True):
        assert_same(found, one)
    Image.fromarray(frames[0]).save(
        tmp_path / "pages.tif", save_all=True, append_images=[Image.fromarray(frame) for frame in frames[1:]]
    )
    with Image.open(tmp_path / "pages.tif") as opened:
        for found, one in zip(model.predict(ImageSequence.Iterator(opened)), expected, strict=True):
            assert_same(found, one)


def test_one_pillow_image_many_times(model: MaskRCNN, images: list[np.ndarray], tmp_path: Path) -> None:
    """It is decoded when it is used first, and by one thread."""
    Image.fromarray(images[0]).save(tmp_path / "one.png")
    expected = model.predict(images[0])
    with Image.open(tmp_path / "one.png") as opened:
        for found in model.predict([opened] * 6, readers=3):
            assert_same(found, expected)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_image_that_does_not_decode(
    model: MaskRCNN, images: list[np.ndarray], tmp_path: Path, batch_size: int
) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(images[3]).save(path)
    path.write_bytes(path.read_bytes()[:1000])  # its size is still told
    (tmp_path / "none.png").write_text("no image")
    sources = [*images[:3], path, tmp_path / "none.png", *images[3:]]
    with pytest.raises(UserError, match=r"cut\.png: expected an image file; it does not decode|none\.png: expected"):
        model.predict(sources, batch_size=batch_size)
    told: dict[int, str] = {}
    stream = detect_stream(
        model,
        enumerate(sources),
        batch_size=batch_size,
        readers=2,
        broken=lambda place, error: told.__setitem__(place, str(error)),
    )
    assert sorted(place for place, _, _ in stream) == [0, 1, 2, *range(5, len(sources))]
    assert sorted(told) == [3, 4]
    assert "none.png: expected an image file; it is in no image format" in told[4]


def test_refusals(model: MaskRCNN, images: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="predict: readers must be at least 0; got -1"):
        model.predict(images, readers=-1)
