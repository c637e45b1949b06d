"""Outline the 24 coins of scikit-image's `coins` photograph as a COCO file (needs scikit-image and scipy).

    python benchmarks/annotate_coins.py python/fastmrcnn/assets --overlay overlay.png

Each coin is found as a bright, textured region; its border is then the closed path, in polar coordinates about the
region's centre, of the steepest fall from the coin to the ground. Look at the overlay before you use the result.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import skimage.data
from faster_coco_eval.core import mask as coco_mask
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage import filters, graph, measure, morphology

ANGLES = 72
SHRINK = 7  # pixels
RADIAL_STEP = 0.25  # pixels


def find_coins(photograph: np.ndarray) -> list[tuple[float, float, float]]:
    """Row, column and radius (pixels) of every coin, row by row."""
    smooth = filters.gaussian(photograph, 1, preserve_range=True)
    bright = smooth > filters.threshold_local(smooth, 101, method="gaussian", offset=-3)
    textured = filters.sobel(smooth) > 9
    filled = ndimage.binary_fill_holes(morphology.closing(bright | textured, morphology.disk(2)))
    # Neighbours touch here, because the gradient reaches beyond each coin: shrink until they part.
    # The photograph's own edges, which glow on one side and are dark on the other, count as ground.
    framed = np.pad(morphology.opening(filled, morphology.disk(13)), SHRINK)
    apart = morphology.erosion(framed, morphology.disk(SHRINK))[SHRINK:-SHRINK, SHRINK:-SHRINK]
    regions = measure.regionprops(measure.label(apart))
    coins = []
    for region in regions:
        row, column = region.centroid
        radius = region.equivalent_diameter_area / 2 + SHRINK - 2.5  # less the gradient's own width
        if region.eccentricity < 0.6 and region.area > 300:  # not the glow at the photograph's top edge
            coins.append((float(row), float(column), float(radius)))
    return coins


def trace_border(photograph: np.ndarray, row: float, column: float, radius: float) -> np.ndarray:
    """Polygon [ANGLES, 2] of (x, y), pixel i covering i to i + 1."""
    smooth = filters.gaussian(photograph, 0.7, preserve_range=True)
    angles = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    radii = np.arange(radius * 0.8, radius * 1.2, RADIAL_STEP)
    rows = row + np.sin(angles)[:, None] * radii
    columns = column + np.cos(angles)[:, None] * radii
    profile = ndimage.map_coordinates(smooth, [rows, columns], order=1, mode="nearest")
    fall = -ndimage.gaussian_filter1d(profile, 1.0 / RADIAL_STEP, axis=1, order=1)
    cost = np.exp(-fall / fall.std()) + 0.05
    # Go round twice and keep the middle turn: its two ends meet.
    path, _ = graph.route_through_array(
        np.tile(cost, (3, 1)), (0, radii.size // 2), (3 * ANGLES - 1, radii.size // 2), geometric=True
    )
    steps = dict(path)  # angle -> radius index
    edge = radii[[steps[angle] for angle in range(ANGLES, 2 * ANGLES)]]
    edge = ndimage.gaussian_filter1d(edge, 0.7, mode="wrap")
    return np.stack([column + 0.5 + edge * np.cos(angles), row + 0.5 + edge * np.sin(angles)], axis=1)


def annotate(photograph: np.ndarray) -> dict:
    """The COCO document of the photograph."""
    height, width = photograph.shape
    annotations = []
    for number, coin in enumerate(find_coins(photograph), 1):
        border = trace_border(photograph, *coin).clip(0, [width, height])
        segmentation = [np.round(border, 1).ravel().tolist()]
        encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "area": float(coco_mask.area(encoded)),
                "bbox": [float(v) for v in coco_mask.toBbox(encoded)],
                "segmentation": segmentation,
            }
        )
    return {
        "info": {"description": "The 24 coins of scikit-image's photograph, see README.md"},
        "licenses": [],
        "categories": [{"id": 1, "name": "coin"}],
        "images": [{"id": 1, "file_name": "coins.png", "height": height, "width": width}],
        "annotations": annotations,
    }


def draw_overlay(photograph: np.ndarray, document: dict, scale: int = 3) -> Image.Image:
    """The photograph, enlarged, with every polygon."""
    picture = Image.fromarray(photograph).convert("RGB")
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for record in document["annotations"]:
        draw.polygon([v * scale for v in record["segmentation"][0]], outline=(255, 60, 60))
    return picture


def main() -> None:
    """Write coins.png and coins.json to a directory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--overlay", type=Path, help="write a picture of the outlines here")
    arguments = parser.parse_args()
    photograph = skimage.data.coins()
    document = annotate(photograph)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph).save(arguments.directory / "coins.png", optimize=True)
    (arguments.directory / "coins.json").write_text(json.dumps(document) + "\n")
    if arguments.overlay:
        draw_overlay(photograph, document).save(arguments.overlay)
    print(f"{len(document['annotations'])} coins")


if __name__ == "__main__":
    main()
