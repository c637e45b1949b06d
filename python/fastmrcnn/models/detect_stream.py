"""Images without number through a network: read ahead, in batches of like shape, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.locks import lock_across_forks
from fastmrcnn.models.ahead import Readers, settle_threads
from fastmrcnn.models.batching import group_by_shape, window_of
from fastmrcnn.models.evaluation_mode import evaluation_mode
from fastmrcnn.models.instances import Size
from fastmrcnn.structures import Detections, ImageSource, as_image_tensor, image_size
from fastmrcnn.structures.image_files import decoders_hushed

if TYPE_CHECKING:
    from fastmrcnn.models.detector import Detector

Key = TypeVar("Key")

# A Pillow image decodes itself when it is used first, which two threads that were given the same one must not both do.
# Most images have a lock to themselves, and few locks serve all.
_DECODING = [lock_across_forks() for _ in range(16)]


class _Item(NamedTuple, Generic[Key]):
    key: Key
    source: ImageSource
    ends_batch: bool


class _Loaded(NamedTuple):
    image: Tensor  # [C, H, W], as it was read
    prepared: Tensor | None  # [C, h, w], as the network takes it; None: not yet


def detect_stream(
    model: Detector,
    sources: Iterable[tuple[Key, ImageSource]],
    *,
    score_threshold: float | None = None,
    batch_size: int = 1,
    readers: int = 0,
    same_size: bool = False,
    broken: Callable[[Key, UserError], None] | None = None,
) -> Generator[tuple[Key, Tensor, Detections], None, None]:
    """Read, detect and bring to the CPU, batch by batch: memory does not grow with the number of images.

    Images come in the order of ``sources``, but for those of a window (:func:`~fastmrcnn.models.batching.window_of`),
    which come batch by batch.

    Args:
        sources: images, each with what tells it from others. They are asked for in the caller's thread as they are
            needed, up to two windows ahead.
        readers: threads that decode and, for a network on the CPU, resize ahead of it; 0: the caller's.
        same_size: the images are of one size, as the frames of a video are: batches are of consecutive ones, and
            sources are asked for one batch ahead.
        broken: is told of an image that does not decode, which is then left out; None raises its ``UserError``.

    Yields:
        The key, the image [C, H, W], and what was found in it.
    """
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ValueError(f"predict: score_threshold must lie in 0..1; got {score_threshold}")
    settle_threads()
    load = _Loader(model)
    with decoders_hushed, Readers(readers) as pool:
        items = _consecutive(sources, batch_size) if same_size else _in_batches(model, sources, batch_size, pool)
        batch: list[tuple[_Item[Key], _Loaded]] = []
        for item, loading in pool.ahead(lambda item: load(item.source), items, depth=batch_size + readers):
            try:
                batch.append((item, loading.result()))
            except UserError as error:
                if broken is None:
                    raise
                broken(item.key, error)
            if item.ends_batch and batch:
                found = _detect(model, [loaded for _, loaded in batch], score_threshold)
                for (done, (image, _)), detections in zip(batch, found, strict=True):
                    yield done.key, image, replace(detections, source=done.source)
                batch = []


def batches_of(model: Detector, images: Sequence[Tensor], batch_size: int) -> list[list[int]]:
    """The batches that :meth:`Detector.predict` puts images [C, H, W] in, at most a window of them: their indices."""
    if batch_size == 1:
        return [[place] for place in range(len(images))]
    return group_by_shape([_shape_of(model, image) for image in images], batch_size)


def _consecutive(sources: Iterable[tuple[Key, ImageSource]], batch_size: int) -> Iterator[_Item[Key]]:
    remaining = iter(sources)
    while chunk := list(islice(remaining, batch_size)):
        yield from (_Item(key, source, place == len(chunk)) for place, (key, source) in enumerate(chunk, 1))


def _in_batches(
    model: Detector, sources: Iterable[tuple[Key, ImageSource]], batch_size: int, pool: Readers
) -> Iterator[_Item[Key]]:
    """The sources of each window, batch after batch."""
    if batch_size == 1:
        yield from (_Item(key, source, True) for key, source in sources)
        return
    window = window_of(batch_size)
    sized = pool.ahead(lambda keyed: _shape_of(model, keyed[1]), sources, depth=window)
    while chunk := list(islice(sized, window)):
        for places in group_by_shape([shape.result() for _, shape in chunk], batch_size):
            for place in places:
                yield _Item(*chunk[place][0], ends_batch=place == places[-1])


def _shape_of(model: Detector, source: ImageSource) -> Size | None:
    """(height, width) of an image in the network, with its padding; None where the image will be refused."""
    try:
        height, width = image_size(source, model.config.input.pixel_format)
    except UserError:
        return None
    return model.transform.frame_size(model.transform.evaluation_size(height, width))


class _Loader:
    """Reads an image and, where the CPU does it, brings it to the size that the network takes. For several threads."""

    def __init__(self, model: Detector) -> None:
        self._transform, self._pixel_format = model.transform, model.config.input.pixel_format
        # A GPU resizes faster than threads do. It is told to by one thread alone, as CUDA graphs may be recorded there.
        self._prepares = model.transform.mean.device.type == "cpu"

    def __call__(self, source: ImageSource) -> _Loaded:
        if isinstance(source, Image.Image):
            with _DECODING[id(source) // 64 % len(_DECODING)]:
                image = as_image_tensor(source, self._pixel_format)
        else:
            image = as_image_tensor(source, self._pixel_format)
        return _Loaded(image, self._transform.prepare(image.detach()) if self._prepares else None)


def _detect(model: Detector, loaded: Sequence[_Loaded], score_threshold: float | None) -> list[Detections]:
    """The detections of one batch, on the CPU."""
    images = [image for image, _ in loaded]
    with evaluation_mode(model), torch.inference_mode():
        resized = [model.transform.prepare(image) if ready is None else ready for image, ready in loaded]
        found = model.detect_prepared(model.transform.collate(resized, images), images)
    here = [detections.to("cpu") for detections in found]  # before the choice by score, which would wait for a GPU
    # In any case, as this makes copies that may be written over, which tensors of inference mode may not.
    return [detections.filter(score=score_threshold) for detections in here]
