"""Whether training waits for images: what the loader alone reads in a second, and what a step takes of it.

The photographs are JPEGs of COCO's usual size with as many objects as COCO has on average, mirrored at random. The
rate of training is that of R50-FPN at the published size; and, as the hardest case for the loader, that of the shipped
tiny network in a real run, whose log says how long each step waited.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.cases.training import training_step
from benchmarks.cases.whole_model import our_model, their_model
from benchmarks.training.memory import IMAGES, make_targets, outlines
from benchmarks.training.report import circumstances
from benchmarks.workloads import STANDARD
from fastmrcnn.data import open_dataset
from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.models import InputConfig
from fastmrcnn.training import TrainConfig, train
from fastmrcnn.training.batches import training_loader
from fastmrcnn.training.samplers import image_order
from tests.models.peer import noise_images

PHOTOGRAPH = (480, 640)
PHOTOGRAPHS, OBJECTS = 32, 7
TRAINED = (800, 1333)  # the published size of the network's input
WORKERS = (0, 1, 2)
TINY = "tiny network on the embedded scenes, in a run with 2 workers"


def table(*, quick: bool) -> str:
    """Images a second of the loader alone and of training."""
    with tempfile.TemporaryDirectory() as folder:
        rates = loader_rates(Path(folder), images=8 if quick else 400)
        step_rate = training_rate((96, 128) if quick else TRAINED, steps=1 if quick else 3)
        run_rate, waited = run_of_the_tiny_network(Path(folder), steps=4 if quick else 40)
    least = min(rate for workers, rate in rates.items() if workers > 0)
    lines = [
        f"{circumstances()}; photographs of {PHOTOGRAPH[1]} x {PHOTOGRAPH[0]} with {OBJECTS} polygons.",
        "",
        "| | images/s |",
        "|---|---:|",
        *(f"| loader alone, {_workers(workers)} | {rate:.0f} |" for workers, rate in rates.items()),
        f"| training, R50-FPN at {TRAINED[0]} x {TRAINED[1]}, float32 | {step_rate:.2f} |",
        f"| training, {TINY} | {run_rate:.1f} |",
        "",
        f"The loader is x{least / step_rate:.0f} as fast as R50-FPN trains. Of the time of the tiny network's steps "
        f"{waited:.1%} is the wait for images.",
    ]
    return "\n".join(lines)


def _workers(count: int) -> str:
    return "in the training process" if count == 0 else f"{count} worker{'s' if count > 1 else ''}"


def write_photographs(folder: Path) -> Path:
    """A COCO data set of noise that compresses as photographs do; its annotation file."""
    height, width = PHOTOGRAPH
    random = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, PHOTOGRAPHS + 1):
        coarse = random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(
            folder / f"{number}.jpg", quality=90
        )
        images.append({"id": number, "file_name": f"{number}.jpg", "width": width, "height": height})
        for shape in outlines(PHOTOGRAPH, OBJECTS, seed=number):
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "segmentation": shape}
            annotations.append(annotation | {"iscrowd": 0})
    path = folder / "photographs.json"
    categories = [{"id": 1, "name": "thing"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def loader_rates(folder: Path, images: int) -> dict[int, float]:
    """Images a second by number of workers, after the workers have started."""
    annotations = write_photographs(folder)
    dataset = open_dataset(annotations, folder)
    rates = {}
    for workers in WORKERS:
        config = TrainConfig(annotations, folder, batch_size=IMAGES, workers=workers, steps=images)
        batches = iter(training_loader(dataset, config, InputConfig(), image_order(dataset, config), 0))
        next(batches)
        start = time.perf_counter()
        count = sum(len(batch[0]) for batch in itertools.islice(batches, images // IMAGES))
        rates[workers] = count / (time.perf_counter() - start)
        del batches  # ends the workers
    return rates


def training_rate(size: tuple[int, int], steps: int) -> float:
    """Images a second of the best step."""
    model = our_model(their_model(STANDARD, size), STANDARD, size, "NHWC").train()
    images, targets = noise_images(*[size] * IMAGES), make_targets(size, OBJECTS, as_bitmaps=False)
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        training_step(model, images, targets)
        seconds.append(time.perf_counter() - start)
    return IMAGES / min(seconds)


def run_of_the_tiny_network(folder: Path, steps: int) -> tuple[float, float]:
    """Images a second, and the share of the steps' time that they waited for images, the first steps left out."""
    scenes = write_dataset(folder / "scenes", images=16, seed=0)
    config = TrainConfig(scenes, scenes.parent / "images", steps=steps, output=folder / "run", checkpoint_every=0)
    rows = [row for row in train(config, progress=False).metrics if "data_seconds" in row][steps // 4 :]
    waited, whole = (sum(row[name] for row in rows) for name in ("data_seconds", "seconds"))
    return statistics.median(row["images_per_second"] for row in rows), waited / whole
