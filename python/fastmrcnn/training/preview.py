"""A page of the samples that a run would train on, to look at before it does."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path

import torch
from PIL import Image

from fastmrcnn.data.loader import Batch
from fastmrcnn.data.pictures import draw_sample
from fastmrcnn.training.augmentation import brings_images_to_size
from fastmrcnn.training.batches import training_loader
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.samplers import image_order
from fastmrcnn.training.start import open_datasets, starting_model
from fastmrcnn.visualisation.report import Report

IMAGES = 24  # that a page shows, if steps are not larger


def write_preview(config: TrainConfig, path: Path) -> int:
    """Write the page of the first steps of the run that ``config`` describes; the number of images on it.

    The samples are those that :func:`~fastmrcnn.training.train` gets, bit for bit: the same order, the same chances.

    Raises:
        UserError: as ``train`` does for data, weights and options that cannot work.
    """
    dataset, _ = open_datasets(config)
    model_config = starting_model(config, dataset, torch.device("cpu")).config
    dataset.read_pixels_as(model_config.input.pixel_format)
    if model_config.keypoint_head is not None:
        dataset.read_keypoints(model_config.keypoint_head)
    order = image_order(dataset, config)
    in_step = dataclasses.replace(config, workers=0, accumulate=1)
    batches = training_loader(dataset, in_step, model_config.input, order, first_step=0)
    report = Report(
        "Training samples", f"The first steps of a run on `{config.train_annotations}`, seed {config.seed}."
    )
    report.facts(
        {
            "images": len(dataset),
            "images in an epoch": order.epoch_length,
            "images in a step": config.batch_size,
            "steps": config.total_steps(order.epoch_length),
        }
    )
    if not brings_images_to_size(config, model_config.input):
        report.text("The network resizes these images further, all alike, as it does in detection.")
    shown = 0
    for number, batch in enumerate(islice(batches, max(1, IMAGES // config.batch_size)), start=1):
        report.section(f"Step {number}")
        report.images(_pictures(batch, dataset.class_names))
        shown += len(batch[2])
    report.save(path)
    return shown


def _pictures(batch: Batch, class_names: tuple[str, ...]) -> list[tuple[Image.Image, str]]:
    pictures = []
    for sample in batch[2]:
        height, width = sample.image.shape[1:]
        objects = f"{len(sample)} object{'' if len(sample) == 1 else 's'}"
        pictures.append((draw_sample(sample, class_names), f"`{sample.path.name}`: {width} x {height}, {objects}"))
    return pictures
