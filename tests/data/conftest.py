"""A small COCO data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def document() -> dict[str, Any]:
    """Two images of 20 x 10 pixels; the first has a square, a one-pixel mask and a crowd, the second nothing."""
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 10, "width": 20},
            {"id": 3, "file_name": "b.png", "height": 10, "width": 20},
        ],
        "categories": [{"id": 5, "name": "ring"}, {"id": 2, "name": "box"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 5,
                "iscrowd": 0,
                "area": 16.0,
                "bbox": [2.0, 3.0, 4.0, 4.0],
                "segmentation": [[2, 3, 6, 3, 6, 7, 2, 7]],
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 2,
                "segmentation": {"size": [10, 20], "counts": [105, 1, 94]},
            },
            {
                "id": 3,
                "image_id": 7,
                "category_id": 2,
                "iscrowd": 1,
                "segmentation": {"size": [10, 20], "counts": [150, 50]},
            },
        ],
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], tuple[Path, Path]]:
    """A function that writes the annotation file (a document, or text as it is) and its two images."""

    def write(content: Any) -> tuple[Path, Path]:
        images = tmp_path / "images"
        images.mkdir(exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
        for name in ("a.png", "b.png"):
            Image.fromarray(pixels).save(images / name)
        path = tmp_path / "annotations.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path, images

    return write
