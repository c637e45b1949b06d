"""The palette holds up for every kind of colour vision, and text is readable on it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastmrcnn.visualisation.colours import LINE_COLOURS, PALETTE, colour_of, contrast, readable_on

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def oklab(linear: np.ndarray) -> np.ndarray:
    """OKLab (Ottosson 2020) of linear sRGB [N, 3], times 100."""
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return 100 * np.cbrt(np.clip(linear, 0, 1) @ np.transpose(to_cones)) @ np.transpose(to_lab)


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart(vision: str) -> None:
    channels = np.array(PALETTE) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    lab = oklab(linear @ np.transpose(VISION[vision]))
    distances = [np.linalg.norm(one - other) for one, other in itertools.combinations(lab, 2)]
    assert min(distances) > 7  # about 2 is the least difference that an observer notices


def test_palette_comes_round() -> None:
    assert colour_of(0) == PALETTE[0]
    assert colour_of(len(PALETTE) + 3) == PALETTE[3]


@pytest.mark.parametrize("colour", PALETTE)
def test_text_is_readable_on_every_colour(colour: tuple[int, int, int]) -> None:
    assert contrast(readable_on(colour), colour) >= 4.5  # WCAG 2.1, level AA


def test_contrast_of_black_and_white() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((9, 9, 9), (9, 9, 9)) == 1


def test_enough_line_colours_for_the_losses() -> None:
    assert len(LINE_COLOURS) >= 6
