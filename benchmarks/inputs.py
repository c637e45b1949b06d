"""How fast images come in: threads that read ahead of the network, batches of like shape, memory by number of images.

    python -m benchmarks.inputs                       # the shipped weights, photographs of 2000 x 1500
    python -m benchmarks.inputs --images 400 --readers 2 --rounds 1

Photographs are drawn and written as JPEG into a temporary folder. All kinds of call take turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fastmrcnn import load_model
from fastmrcnn.memory import peak_bytes
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.batching import MAX_PADDING, group_by_shape, window_of
from fastmrcnn.models.detect_stream import detect_stream


def write_photographs(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """JPEGs of (width, height) and, every third one, upright; as smooth as photographs are."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1] // 5, size[0] // 5, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    paths = []
    for number in range(count):
        image = picture.transpose(Image.Transpose.ROTATE_90) if number % 3 == 0 else picture
        paths.append(folder / f"{number}.jpg")
        image.save(paths[-1], quality=90)
    return paths


# Shares of (height, width) that are roughly those of COCO's images; the rest has a shorter side of any length.
SHAPES = {(480, 640): 0.45, (427, 640): 0.2, (640, 480): 0.15, (640, 427): 0.1, (640, 640): 0.03}


def padding_of_batches(model: MaskRCNN, batch_size: int, images: int = 4096) -> dict[str, tuple[float, float]]:
    """The mean batch, and the share of its pixels that are padding, as batches are made and in the order of images."""
    random = np.random.default_rng(0)
    shares = np.array([*SHAPES.values(), 1 - sum(SHAPES.values())])
    frames = []
    for kind in random.choice(len(shares), images, p=shares):
        shape = [*SHAPES, tuple(random.permutation((int(random.integers(300, 640)), 640)))][kind]
        frames.append(model.transform.frame_size(model.transform.evaluation_size(*map(int, shape))))
    rows = {}
    for name, window, bound in (("by shape", window_of(batch_size), MAX_PADDING), ("in order", batch_size, 1.0)):
        seen = used = batches = 0
        for first in range(0, images, window):
            chunk = frames[first : first + window]
            for batch in group_by_shape(chunk, batch_size, bound):
                height, width = (max(chunk[place][axis] for place in batch) for axis in (0, 1))
                seen += len(batch) * height * width
                used += sum(chunk[place][0] * chunk[place][1] for place in batch)
                batches += 1
        rows[name] = images / batches, 1 - used / seen
    return rows


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--size", type=int, nargs=2, default=(2000, 1500), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--readers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(words)
    model = load_model(options.weights, device=options.device)
    calls = [(readers, batch_size) for batch_size in options.batch_size for readers in options.readers]
    rates: dict[tuple[int, int], list[float]] = {call: [] for call in calls}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder), options.images, tuple(options.size))
        model.predict(paths[:2])
        for _ in range(options.rounds):
            for readers, batch_size in calls:
                start = time.perf_counter()
                for _ in detect_stream(model, enumerate(paths), batch_size=batch_size, readers=readers):
                    pass
                rates[readers, batch_size].append(len(paths) / (time.perf_counter() - start))
    print(f"{options.images} images, {torch.get_num_threads()} threads of the network")
    print("| batch size | readers | images/s, best | median |")
    print("|---|---|---|---|")
    for (readers, batch_size), found in rates.items():
        print(f"| {batch_size} | {readers} | {max(found):.1f} | {statistics.median(found):.1f} |")
    print("| batch size | batches | images in the mean batch | padding |")
    print("|---|---|---|---|")
    for batch_size in options.batch_size:
        for name, (mean, padding) in padding_of_batches(model, batch_size).items():
            print(f"| {batch_size} | {name} | {mean:.2f} | {padding:.1%} |")
    print(f"peak memory: {peak_bytes() / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
