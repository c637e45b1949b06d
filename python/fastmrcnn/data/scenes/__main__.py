"""`python -m fastmrcnn.data.scenes DIRECTORY --images N --seed S --split NAME`: write the embedded data set."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.errors import UserError


def main(directory: tyro.conf.Positional[Path], /, images: int = 200, seed: int = 0, split: str = "train") -> None:
    """Write procedural scenes as image files and COCO JSON.

    Args:
        directory: receives images/ and annotations.json.
        images: number of scenes.
        seed: with the split, determines every pixel.
        split: name that the files begin with; splits of one seed share no image.
    """
    try:
        print(write_dataset(directory, images=images, seed=seed, split=split))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    tyro.cli(main, prog="python -m fastmrcnn.data.scenes")
