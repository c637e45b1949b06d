"""The layers of convolutional networks in plain numpy, float64, for the references of other software.

A state maps names to arrays; a layer has a ``weight`` of its name, and a ``bias`` or a ``norm`` where there is one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = dict[str, NDArray[np.float32]]


def conv(state: State, name: str, x: Array, stride: int = 1, dilation: int = 1, padding: int | None = None) -> Array:
    """[N, C, H, W] -> [N, O, H', W'], with the bias or the normalisation that the state has."""
    weight = state[f"{name}.weight"].astype(np.float64)  # [O, C / groups, k, k]
    outputs, width, side, _ = weight.shape
    groups = x.shape[1] // width
    padding = side // 2 * dilation if padding is None else padding
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, length = ((size - dilation * (side - 1) - 1) // stride + 1 for size in padded.shape[2:])
    out = np.zeros((x.shape[0], groups, outputs // groups, height, length))
    for i in range(side):
        for j in range(side):
            y0, x0 = i * dilation, j * dilation
            seen = padded[
                :, :, y0 : y0 + stride * (height - 1) + 1 : stride, x0 : x0 + stride * (length - 1) + 1 : stride
            ]
            seen = seen.reshape(x.shape[0], groups, width, height, length)
            kernel = weight[:, :, i, j].reshape(groups, outputs // groups, width)
            out += np.einsum("goc,ngchw->ngohw", kernel, seen, optimize=True)
    out = out.reshape(x.shape[0], outputs, height, length)
    if f"{name}.bias" in state:
        out += state[f"{name}.bias"][:, None, None]
    return normalise(state, f"{name}.norm", out) if f"{name}.norm.weight" in state else out


def normalise(state: State, name: str, x: Array) -> Array:
    weight, bias = (state[f"{name}.{part}"].astype(np.float64)[:, None, None] for part in ("weight", "bias"))
    if f"{name}.running_mean" in state:
        mean, variance = (state[f"{name}.running_{part}"].astype(np.float64)[:, None, None] for part in ("mean", "var"))
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias
    grouped = x.reshape(x.shape[0], 32, -1)  # GroupNorm of 32 groups, whatever the width
    grouped = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + 1e-5)
    return grouped.reshape(x.shape) * weight + bias


def linear(state: State, name: str, x: Array) -> Array:
    return x @ state[f"{name}.weight"].astype(np.float64).T + state[f"{name}.bias"]


def deconv(state: State, name: str, x: Array) -> Array:
    """Of stride 2, with a kernel of 2x2 or 4x4, whose outer ring falls off at the border: every cell becomes four."""
    weight = state[f"{name}.weight"].astype(np.float64)  # [C, O, k, k]
    side, ring = weight.shape[2], weight.shape[2] // 2 - 1
    height, width = x.shape[2] * 2, x.shape[3] * 2
    out = np.zeros((x.shape[0], weight.shape[1], height + 2 * ring, width + 2 * ring))
    for i in range(side):
        for j in range(side):
            out[:, :, i : i + height : 2, j : j + width : 2] += np.einsum("nchw,co->nohw", x, weight[:, :, i, j])
    return out[:, :, ring : ring + height, ring : ring + width] + state[f"{name}.bias"][:, None, None]


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def max_pool(x: Array) -> Array:
    """3x3, stride 2, one cell of nothing on all sides."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    height, width = ((size - 1) // 2 + 1 for size in x.shape[2:])
    views = [padded[:, :, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2] for i in range(3) for j in range(3)]
    return np.max(views, axis=0)


def bilinear_rows(positions: Array, size: int) -> Array:
    """[S, size]: how much of each cell a sample takes; nothing beyond one cell outside of the map."""
    rows = np.zeros((len(positions), size))
    for row, position in zip(rows, positions, strict=True):
        if -1 <= position <= size:
            position = min(max(position, 0), size - 1)
            low = int(position)
            row[low] += 1 - (position - low)
            row[min(low + 1, size - 1)] += position - low
    return rows


def cubic_rows(count: int, size: int) -> Array:
    """[count, size]: cubic interpolation with a = -0.75 between cell centres, the border's cells repeated outside."""
    rows = np.zeros((count, size))
    for index, row in enumerate(rows):
        position = (index + 0.5) * size / count - 0.5
        low = math.floor(position)
        for cell in range(low - 1, low + 3):
            t = abs(position - cell)
            inner = 1.25 * t**3 - 2.25 * t**2 + 1
            outer = -0.75 * t**3 + 3.75 * t**2 - 6 * t + 3
            row[min(max(cell, 0), size - 1)] += inner if t <= 1 else outer
    return rows
