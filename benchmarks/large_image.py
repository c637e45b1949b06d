"""``python -m benchmarks.large_image``: an image too large for a network, in tiles: objects, time, and memory.

It draws the embedded scenes side by side into a file, segments it with the shipped weights, and prints the peak of the
resident memory before the first tile, after the last and after the merging, beside the size of the image. Linux.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fastmrcnn.data.scenes import render_scene
from fastmrcnn.inference import predict_tiled
from fastmrcnn.memory import forget_peak, peak_bytes
from fastmrcnn.weights import load_model

MIB = 2**20
_SCENE, _SCENES, _BAND = 224, 48, 256  # px, number of different ones, rows written at once


def draw(path: Path, side: int) -> None:
    """Scenes in random order, ``side`` x ``side`` pixels: an array, a PNG, or a TIFF of compressed tiles."""
    scenes = [render_scene(number, seed=5, split="val").image[:_SCENE, :_SCENE] for number in range(_SCENES)]
    order = np.random.default_rng(0)
    array_path = path.with_suffix(".npy")
    pixels = np.lib.format.open_memmap(array_path, "w+", np.uint8, (side, side, 3))
    for top in range(0, side, _SCENE):
        chosen = order.integers(0, _SCENES, -(-side // _SCENE))
        row = np.concatenate([scenes[number] for number in chosen], axis=1)
        pixels[top : top + _SCENE] = row[: side - top, :side]
    pixels.flush()
    if path.suffix == ".npy":
        return
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path, compress_level=1)
        array_path.unlink()
        return
    import tifffile

    def tiles() -> Iterator[np.ndarray]:
        for top in range(0, side, _BAND):
            for left in range(0, side, _BAND):
                tile = np.zeros((_BAND, _BAND, 3), np.uint8)
                part = pixels[top : top + _BAND, left : left + _BAND]
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile

    options = {"tile": (_BAND, _BAND), "compression": "zlib", "photometric": "rgb", "bigtiff": True}
    tifffile.imwrite(path, tiles(), shape=pixels.shape, dtype=np.uint8, **options)
    array_path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000, help="pixels")
    parser.add_argument("--format", choices=("npy", "tif", "png"), default="npy")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the image is kept; the default removes it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(options.folder or temporary) / f"large-{options.side}.{options.format}"
        if not path.exists():
            draw(path, options.side)
        measure(path, options.side, options.tile, options.batch_size)


def measure(path: Path, side: int, tile: int, batch_size: int) -> None:
    model = load_model("tiny")
    model.predict(np.zeros((tile, tile, 3), np.uint8))  # what is loaded and allocated at first use
    forget_peak()
    before, start, ends = peak_bytes() // MIB, time.monotonic(), []

    def on_tiles(done: int, count: int) -> None:
        if done == count:
            ends.extend((time.monotonic(), peak_bytes() // MIB, count))

    found = predict_tiled(model, path, tile=tile, score_threshold=0.5, batch_size=batch_size, on_tiles=on_tiles)
    end = time.monotonic()
    (last, peak, count), merged = ends, peak_bytes() // MIB
    seconds, rate = end - start, count / (last - start)
    print(f"{side} x {side} pixels, {3 * side**2 / 2**20:.0f} MiB decoded, {path.suffix[1:]}; {count} tiles of {tile}")
    print(f"{len(found)} objects in {seconds:.0f} s, {rate:.1f} tiles/s, merged in {end - last:.1f} s")
    print(f"resident memory: {before} MiB before, up to {peak} MiB in the tiles, {merged} MiB with the merging")


if __name__ == "__main__":
    main()
