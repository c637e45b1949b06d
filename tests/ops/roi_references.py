"""The pooling operators as plain loops over RoIs, bins and samples, in double precision."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def sample(plane: Array, y: float, x: float) -> float:
    """Bilinear interpolation; the border value extends one pixel beyond the map, then come zeros."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    return float(
        (1 - fy) * (1 - fx) * plane[y0, x0]
        + (1 - fy) * fx * plane[y0, x1]
        + fy * (1 - fx) * plane[y1, x0]
        + fy * fx * plane[y1, x1]
    )


def mean_of_bin(plane: Array, corner: tuple[float, float], size: tuple[float, float], grid: tuple[int, int]) -> float:
    """Mean of grid samples in a bin with this upper left corner and size, both (y, x)."""
    total = 0.0
    for sy in range(grid[0]):
        for sx in range(grid[1]):
            y = corner[0] + (sy + 0.5) * size[0] / grid[0]
            x = corner[1] + (sx + 0.5) * size[1] / grid[1]
            total += sample(plane, y, x)
    return total / max(grid[0] * grid[1], 1)


def bins_of(
    roi: Array, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> tuple[tuple[float, float], tuple[float, float], tuple[int, int]] | None:
    """Corner of the RoI, size of a bin, samples per bin, each as (y, x); None for a RoI that is not finite."""
    x1, y1, x2, y2 = (float(value) * scale - 0.5 * aligned for value in roi[1:])
    if not all(map(math.isfinite, (x1, y1, x2 - x1, y2 - y1))):
        return None
    height, width = (y2 - y1, x2 - x1) if aligned else (max(y2 - y1, 1.0), max(x2 - x1, 1.0))
    bin_size = height / size[0], width / size[1]
    grid = (ratio, ratio) if ratio > 0 else (max(math.ceil(bin_size[0]), 0), max(math.ceil(bin_size[1]), 0))
    return (y1, x1), bin_size, grid


def roi_align(
    features: Array, rois: Array, size: tuple[int, int], scale: float = 1.0, ratio: int = -1, aligned: bool = False
) -> Array:
    pooled = np.zeros((len(rois), features.shape[1], *size))
    for k, roi in enumerate(rois):
        if (bins := bins_of(roi, size, scale, ratio, aligned)) is None:
            continue
        (y, x), (height, width), grid = bins
        for c, i, j in np.ndindex(pooled.shape[1:]):
            pooled[k, c, i, j] = mean_of_bin(
                features[int(roi[0]), c], (y + i * height, x + j * width), (height, width), grid
            )
    return pooled


def level_of(box: Array, finest: int, coarsest: int, scale: float, canonical: int, rule: str) -> int:
    """Of x1, y1, x2, y2 in single or double precision, every operation rounded to it."""
    real = box.dtype.type
    with np.errstate(all="ignore"):
        ratio = np.sqrt((box[2] - box[0]) * (box[3] - box[1])) / real(scale)
        if rule == "torchvision":
            level = real(canonical) + log2(ratio) + real(1e-6)
        else:
            level = real(canonical) + log2(ratio + real(1e-8))
    return finest if math.isnan(level) else int(min(max(np.floor(level), finest), coarsest))


def log2(value: np.floating) -> np.floating:
    return value.dtype.type(np.log2(np.float64(value)))


def multiscale_roi_align(
    features: list[Array],
    rois: Array,
    size: tuple[int, int],
    scales: list[float],
    ratio: int,
    aligned: bool,
    *,
    finest: int = 2,
    canonical_scale: float = 224,
    canonical_level: int = 4,
    rule: str = "torchvision",
) -> Array:
    coarsest = finest + len(features) - 1
    pooled = np.zeros((len(rois), features[0].shape[1], *size))
    for k, roi in enumerate(rois):
        level = level_of(roi[1:], finest, coarsest, canonical_scale, canonical_level, rule) - finest
        pooled[k : k + 1] = roi_align(features[level], roi[None].astype(float), size, scales[level], ratio, aligned)
    return pooled


def ps_roi_align(features: Array, rois: Array, size: tuple[int, int], scale: float = 1.0, ratio: int = -1) -> Array:
    return select_bins(roi_align(features, rois, size, scale, ratio, aligned=True))


def select_bins(pooled: Array) -> Array:
    """[K, C x height x width, height, width] -> [K, C, height, width]: each bin from the channel that is its own."""
    count, channels, height, width = pooled.shape
    by_bin = pooled.reshape(count, channels // (height * width), height, width, height, width)
    return np.einsum("kcijij->kcij", by_bin)


def round_half_away(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def pixels_of_bins(low: float, high: float, bins: int, size: int, inclusive: bool) -> list[range]:
    """The whole pixels of each bin along one axis; corners in feature-map pixels."""
    start, end = round_half_away(low), round_half_away(high)
    step = max(end - start + inclusive, 1) / bins
    last = size if inclusive else size - 1
    return [
        range(min(max(start + math.floor(i * step), 0), last), min(max(start + math.ceil((i + 1) * step), 0), last))
        for i in range(bins)
    ]


def pool_pixels(
    features: Array, rois: Array, size: tuple[int, int], scale: float, inclusive: bool, reduce: str
) -> Array:
    pooled = np.zeros((len(rois), features.shape[1], *size))
    for k, roi in enumerate(rois):
        if not np.isfinite(roi).all():
            continue
        x1, y1, x2, y2 = (float(value) * scale for value in roi[1:])
        rows = pixels_of_bins(y1, y2, size[0], features.shape[2], inclusive)
        columns = pixels_of_bins(x1, x2, size[1], features.shape[3], inclusive)
        for c, i, j in np.ndindex(pooled.shape[1:]):
            pixels = features[int(roi[0]), c, rows[i].start : rows[i].stop, columns[j].start : columns[j].stop]
            pooled[k, c, i, j] = getattr(pixels, reduce)() if pixels.size else 0
    return pooled


def roi_pool(features: Array, rois: Array, size: tuple[int, int], scale: float = 1.0) -> Array:
    return pool_pixels(features, rois, size, scale, inclusive=True, reduce="max")


def ps_roi_pool(features: Array, rois: Array, size: tuple[int, int], scale: float = 1.0) -> Array:
    return select_bins(pool_pixels(features, rois, size, scale, inclusive=False, reduce="mean"))
