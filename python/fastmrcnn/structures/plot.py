"""Detections drawn over their image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fastmrcnn.structures.images import ImageSource, as_image_tensor
from fastmrcnn.structures.mask_crops import mask_crops
from fastmrcnn.structures.pixel_format import EVERY_CHANNEL

if TYPE_CHECKING:
    from fastmrcnn.structures.detections import Detections


def plot(
    found: Detections,
    image: ImageSource | None,
    *,
    colour_by: str,
    opacity: float,
    zoom: int,
    keypoint_score: float | None,
) -> Image.Image:
    """See :meth:`Detections.plot`."""
    from fastmrcnn.visualisation.overlay import draw_instances  # predictions are made without it

    # On any picture of the scene that the caller has, but of the own source the bands that the model looked at.
    wanted = found.pixel_format if image is None or found.pixel_format.channels == 3 else EVERY_CHANNEL
    if image is None:
        image = found.source
    if image is None:
        raise ValueError("plot: image must be given, as these detections do not know theirs; got None")
    pixels = as_image_tensor(image, wanted)
    if tuple(pixels.shape[1:]) != tuple(found.image_size):
        raise ValueError(f"plot: image must be of size {found.image_size}; got {tuple(pixels.shape[1:])}")
    here = found.to("cpu")
    return draw_instances(
        pixels.detach().permute(1, 2, 0).cpu().numpy(),
        here.boxes.detach().numpy(),
        masks=mask_crops(here),
        keypoints=_drawn_keypoints(here.keypoints, keypoint_score),
        keypoint_names=found.keypoint_names,
        labels=here.labels.tolist(),
        names=here.names,
        scores=here.scores.tolist(),
        colour_by=colour_by,
        opacity=opacity,
        zoom=zoom,
    )


def _drawn_keypoints(keypoints: Tensor | None, score: float | None) -> np.ndarray | None:
    """[N, K, 2], NaN for those below ``score``."""
    if keypoints is None:
        return None
    points = keypoints.detach()
    low = points[..., 2:] < (-torch.inf if score is None else score)
    drawn: np.ndarray = torch.where(low, torch.nan, points[..., :2]).numpy()
    return drawn
