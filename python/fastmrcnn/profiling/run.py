"""``fastmrcnn bench``: a model predicts, and its stages are timed."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from fastmrcnn.deployment import optimize
from fastmrcnn.deployment.optimized import OptimizedMaskRCNN
from fastmrcnn.deployment.samples import noise, photograph_file
from fastmrcnn.errors import UserError
from fastmrcnn.files import check_writable, write_json
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.memory import forget_peak, peak_bytes
from fastmrcnn.models import MaskRCNN
from fastmrcnn.profiling.clock import Place, StageClock, watched
from fastmrcnn.profiling.config import BenchConfig
from fastmrcnn.profiling.result import Profile
from fastmrcnn.profiling.stages import ORDER, PASTE, REST, places_of
from fastmrcnn.structures import Detections, ImageSource, image_size
from fastmrcnn.structures.image_files import open_image
from fastmrcnn.weights import load_model

NOISE_SIZE = (480, 640)  # px
WARM_UP = 2  # predictions: libraries choose algorithms, and CUDA graphs are recorded when a size comes again


def bench(config: BenchConfig) -> Profile:
    """Load the model, predict as ``config`` says, and write the profile to ``config.output``, if that is given.

    Raises:
        UserError: a model or an image that does not load, or that do not fit each other; an unknown device.
    """
    if config.output is not None:
        check_writable(config.output)
    model = load_model(config.model, device=resolve_device(config.device))
    with _threads(config.threads), _image(config, model.config.input.channels) as image:
        if config.fast:
            model = optimize(model, sample=image)
        found = profile(
            model,
            image,
            batch_size=config.batch_size,
            repeats=config.repeats,
            score_threshold=config.score_threshold,
        )
    if config.output is not None:
        write_json(config.output, {"model": config.model, "fast": config.fast} | found.to_dict(), indent=2)
    return found


def profile(
    model: MaskRCNN,
    image: ImageSource,
    *,
    batch_size: int = 1,
    repeats: int = 5,
    score_threshold: float | None = None,
) -> Profile:
    """Time the stages of ``model.predict``, and of the run lengths of the masks, which it leaves to who asks.

    Predictions in which the stages are watched and others take turns, so that the sum of the first can be held against
    the second. Images are decoded and resized before the network begins, not beside it.

    Args:
        image: whatever :meth:`MaskRCNN.predict` takes. batch_size: how often, through the network together.
        repeats: of both kinds of predictions; figures are medians.
        score_threshold: drop detections below it; None keeps those above the configuration's threshold.

    >>> from fastmrcnn.models import tiny
    >>> profile(MaskRCNN(tiny(["coin"])), torch.rand(3, 64, 96), repeats=1).network_size
    (64, 96)
    """
    device, places = model.transform.mean.device, places_of(model)
    for _ in range(WARM_UP):
        found, _ = _predict(model, image, batch_size, score_threshold, [])
    _forget_peaks(device)
    alone, staged = [], []
    for _ in range(repeats):
        _, took = _predict(model, image, batch_size, score_threshold, [])
        alone.append(sum(took.values()) / batch_size)
        staged.append(_predict(model, image, batch_size, score_threshold, places)[1])
    height, width = image_size(image, model.config.input.pixel_format)
    return Profile(
        device=str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        threads=torch.get_num_threads(),
        batch_size=batch_size,
        image_size=(height, width),
        network_size=model.transform.frame_size(model.transform.evaluation_size(height, width)),
        precision=_precision(model),
        stages={
            stage: statistics.median(took.get(stage, 0.0) for took in staged) / batch_size
            for stage in ORDER
            if any(stage in took for took in staged)
        },
        whole_ms=statistics.median(alone),
        detections=sum(map(len, found)) / batch_size,
        repeats=repeats,
        peak_memory=peak_bytes(),
        peak_gpu_memory=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    )


def _predict(
    model: MaskRCNN, image: ImageSource, batch_size: int, score_threshold: float | None, places: list[Place]
) -> tuple[list[Detections], dict[str, float]]:
    """The detections of a batch and the milliseconds of its stages; without places all is one stage."""
    clock = StageClock(model.transform.mean.device)
    with watched(places, clock), clock.stage(REST):
        every = model.predict([image] * batch_size, score_threshold=score_threshold, batch_size=batch_size, readers=0)
        with clock.stage(PASTE):
            for found in every:
                _ = found.rle if found.has_masks else None
    return every, clock.milliseconds()


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _image(config: BenchConfig, channels: int) -> Iterator[Path]:
    """The file to predict."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        if channels not in (1, 3):
            yield _image_of_bands(config, channels, folder)
            return
        path = config.image
        if path is None:
            path = stack.enter_context(photograph_file())
        if config.size is None:
            yield path
            return
        resized = folder / f"{path.stem}.jpg"
        height, width = config.size
        with open_image(path) as image:
            image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(resized, quality=90)
        yield resized


def _image_of_bands(config: BenchConfig, channels: int, folder: Path) -> Path:
    """The file to predict for a model of other bands than a photograph's; noise where none is given."""
    if config.image is None:
        pixels = noise(channels, config.size or NOISE_SIZE) * 255
        path = folder / "noise.npy"
        np.save(path, pixels.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
        return path
    if config.size is not None:
        raise UserError(f"size: expected a model of grey or RGB images; {config.model} takes {channels} channels")
    return config.image


def _precision(model: MaskRCNN) -> str:
    dtype = model.precision if isinstance(model, OptimizedMaskRCNN) else next(model.parameters()).dtype
    return str(dtype).removeprefix("torch.")


def _forget_peaks(device: torch.device) -> None:
    """The greatest memory counts from here."""
    forget_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
