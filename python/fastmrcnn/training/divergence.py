"""A step whose losses or gradient are no numbers, written out: for a person to look at, and for a program to read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastmrcnn.data import Sample
from fastmrcnn.data.loader import Batch
from fastmrcnn.data.pictures import draw_sample
from fastmrcnn.errors import UserError, first_line
from fastmrcnn.files import atomic_directory, write_json
from fastmrcnn.models import MaskRCNNConfig
from fastmrcnn.training.checkpoint import checkpoint_folders
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.state import TrainState
from fastmrcnn.training.step import NotFiniteError


def report_divergence(
    error: NotFiniteError,
    shares: Sequence[Sequence[Batch]],
    state: TrainState,
    config: TrainConfig,
    learning_rate: float,
) -> str:
    """Write the step out under ``config.output``; the one line that ends the run.

    shares: of each process its images of every part of the step.
    """
    assert config.output is not None
    step = state.step + 1
    samples = [sample for part in zip(*shares, strict=True) for _, _, samples in part for sample in samples]
    folder = config.output / "diverged" / f"step-{step:08d}"
    about = {"step": step, "seed": config.seed, "learning_rate": learning_rate, "values": _in_words(error.values)}
    try:
        write_diverged_step(folder, samples, about, config, state.model.config)
        written = f"its images, targets and losses are in {folder}"
    except (OSError, UserError) as problem:
        written = f"its images cannot be written: {first_line(problem)}"
    files = ", ".join(str(sample.path) for sample in samples)
    kept = checkpoint_folders(config.output)
    advice = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint was written yet"
    return (
        f"step {step}: training diverged: {error}; images: {files}; {written}; {advice}; "
        f"try a lower learning_rate than {config.learning_rate} or a longer warm-up"
    )


def write_diverged_step(
    folder: Path, samples: Sequence[Sample], about: dict[str, Any], config: TrainConfig, model: MaskRCNNConfig
) -> None:
    """Write what made up a step into ``folder``, which replaces an older one.

    ``images/`` and ``annotations.json`` are a COCO data set of the augmented samples, as the model was given them: one
    that `fastmrcnn doctor` and `fastmrcnn train` can open. ``pictures/`` has the annotations drawn over the images;
    ``step.json`` holds ``about``, with losses and seed, and the original files, ``config.json`` the options of the run.

    Raises:
        UserError, OSError: the folder cannot be written.
    """
    names = [f"{number:02d}-{sample.path.stem}" for number, sample in enumerate(samples)]
    with atomic_directory(folder) as temporary:
        for part in ("images", "pictures"):
            (temporary / part).mkdir()
        files = []
        for sample, name in zip(samples, names, strict=True):
            files.append(_write_image(sample, temporary / "images" / name))
            draw_sample(sample, model.class_names).save(temporary / "pictures" / f"{name}.png")
        originals = {file: str(sample.path) for file, sample in zip(files, samples, strict=True)}
        write_json(temporary / "annotations.json", _as_coco(samples, files, model))
        write_json(temporary / "config.json", config.to_dict(), indent=2)
        write_json(temporary / "step.json", about | {"images": originals}, indent=2)


def _in_words(values: dict[str, float]) -> dict[str, float | str]:
    """JSON has no numbers for what was found."""
    return {name: value if math.isfinite(value) else str(value) for name, value in values.items()}


def _write_image(sample: Sample, stem: Path) -> str:
    """The pixels, exactly: a PNG of 8-bit RGB, or else an array [H, W, C]; the name of the file."""
    pixels = sample.image.permute(1, 2, 0).contiguous().numpy()
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        path = stem.with_name(f"{stem.name}.png")
        Image.fromarray(pixels).save(path)
    else:
        path = stem.with_name(f"{stem.name}.npy")
        np.save(path, pixels)
    return path.name


def _as_coco(samples: Sequence[Sample], files: Sequence[str], model: MaskRCNNConfig) -> dict[str, Any]:
    """The COCO document of the samples, with the masks as run lengths."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (sample, file) in enumerate(zip(samples, files, strict=True), start=1):
        height, width = sample.image.shape[1:]
        images.append({"id": number, "file_name": file, "height": height, "width": width})
        sides = torch.cat((sample.boxes[:, :2], sample.boxes[:, 2:] - sample.boxes[:, :2]), dim=1)
        for index, rle in enumerate(sample.masks.to_rle()):
            entry = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": model.category_ids[int(sample.labels[index])],
                "bbox": sides[index].tolist(),
                "area": float(sample.areas[index]),
                "segmentation": rle,
                "iscrowd": int(sample.iscrowd[index]),
            }
            if sample.keypoints is not None:
                entry["keypoints"] = sample.keypoints[index].flatten().tolist()
            annotations.append(entry)
    keypoints = {"keypoints": list(samples[0].keypoint_names)} if samples[0].keypoint_names else {}
    categories = [
        {"id": number, "name": name} | keypoints
        for number, name in zip(model.category_ids, model.class_names, strict=True)
    ]
    return {"images": images, "categories": categories, "annotations": annotations}
