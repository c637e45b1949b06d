"""Starting from a model for images of another number of channels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fastmrcnn.models import InputConfig, MaskRCNN
from fastmrcnn.models.config import Resampling
from fastmrcnn.weights.store import new_model

FIRST_CONVOLUTION = "stem.conv1.conv.weight"  # of a backbone

# Some families resize in whole grey values of 8 bits, which would cut 16 bits short: the same rules without.
_IN_FULL_DEPTH: dict[Resampling, Resampling] = {"pil": "antialias", "opencv": "bilinear", "zero_border": "bilinear"}

_log = logging.getLogger(__name__)


def with_channels(model: MaskRCNN, mean: Sequence[float], std: Sequence[float], *, source: str = "model") -> MaskRCNN:
    """A model for images of other channels that starts from the weights of ``model``.

    All weights are kept but those of the first convolution, which :func:`adapt_filters` makes fit.

    Args:
        mean, std: of each of the new channels, in 0..1, where 1 is white; see
            :func:`fastmrcnn.data.measure_channels`.
        source: names the model in the log.

    Returns:
        The model, in evaluation mode.

    >>> from fastmrcnn.models import tiny
    >>> with_channels(MaskRCNN(tiny(["coin"])), [0.5] * 5, [0.25] * 5).config.input.channels
    5
    """
    return with_input(model, input_for_channels(model.config.input, mean, std), source=source)


def with_input(model: MaskRCNN, input_config: InputConfig, *, source: str = "model") -> MaskRCNN:
    """A model with the weights of ``model`` and another input; see :func:`with_channels`."""
    before, now = model.config.input.channels, input_config.channels
    state = model.state_dict()
    if now != before:
        name = f"backbone.{FIRST_CONVOLUTION}"
        filters = state[name].flip(1) if model.config.input.channel_order == "bgr" else state[name]
        state[name] = adapt_filters(filters, now)
        _log.info("%s: made the first convolution one of %d channels, where it had %d", source, now, before)
    changed = new_model(replace(model.config, input=input_config))
    changed.load_state_dict(state)
    return changed.eval()


def adapt_filters(filters: Tensor, channels: int) -> Tensor:
    """The filters of a first convolution, [O, K, h, w], for images of another number of channels: [O, channels, h, w].

    What there is in all channels alike gives the same as before: grey does what it did. Where channels are added, the
    first K keep their filters, for they often are red, green and blue; the others take the mean of these. Where there
    are fewer, nothing tells what they show, and all take the mean. The sum over the channels is kept by a factor.
    """
    known = filters.shape[1]
    if channels == known:
        return filters
    mean = filters.mean(dim=1, keepdim=True)
    kept = known if channels > known else 0
    return torch.cat((filters[:, :kept], mean.expand(-1, channels - kept, -1, -1)), dim=1) * (known / channels)


def input_for_channels(known: InputConfig, mean: Sequence[float], std: Sequence[float]) -> InputConfig:
    """``known`` for channels of that mean and deviation, in 0..1.

    The network goes on to see values of the spread that it knows: where colours of some 57 grey values of deviation
    were not divided by any, as in networks that came from Caffe, the new channels come out as wide.
    """
    usual = sum(InputConfig.std) / len(InputConfig.std) * known.pixel_max  # deviation of the colours of photographs
    spread = sum(known.std) / len(known.std) / usual if known.channels == 3 else 1.0
    return replace(
        known,
        channel_order="rgb",
        mean=tuple(_short(value * known.pixel_max) for value in mean),
        std=tuple(_short(value * known.pixel_max * spread) for value in std),
        resampling=_IN_FULL_DEPTH.get(known.resampling, known.resampling),
    )


def _short(value: float) -> float:
    """Six digits, which are more than a measurement is good for, and are easily read in a file."""
    return float(f"{value:.6g}")
