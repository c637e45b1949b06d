"""Starting from a model with anchors of other sizes and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.models.config import AnchorConfig
from fastmrcnn.weights.store import new_model


def changed_anchors(known: AnchorConfig, scale: float = 1.0, aspect_ratios: Sequence[float] = ()) -> AnchorConfig:
    """``known`` with all sizes times ``scale``, and other ratios height / width where some are given.

    >>> changed_anchors(AnchorConfig(sizes=((32,), (64,))), 0.5, [0.25, 1, 4])
    AnchorConfig(sizes=((16.0,), (32.0,)), aspect_ratios=(0.25, 1, 4), sizes_first=False, rounded=False, \
strides='nominal')
    """
    sizes = tuple(tuple(size * scale for size in level) for level in known.sizes) if scale != 1 else known.sizes
    return replace(known, sizes=sizes, aspect_ratios=tuple(aspect_ratios) or known.aspect_ratios)


def config_with_anchors(config: MaskRCNNConfig, anchors: AnchorConfig) -> MaskRCNNConfig:
    """``config`` with other anchors."""
    return replace(config, rpn=replace(config.rpn, anchors=anchors))


def with_anchors(model: MaskRCNN, anchors: AnchorConfig, *, source: str = "model") -> MaskRCNN:
    """A model with the weights of ``model`` and other anchors, as many in a cell: each output goes on with its own.

    Returns:
        The model, in evaluation mode.

    Raises:
        UserError: there are more or fewer of them, for which the RPN has no outputs; ``source`` names the model.
    """
    before, now = model.config.rpn.anchors, anchors
    if now.per_location != before.per_location:
        ratios = f"{before.per_location // len(before.sizes[0])} aspect ratios"
        raise UserError(f"{source}: expected {ratios}, as many as its weights have; got {now.aspect_ratios}")
    changed = new_model(config_with_anchors(model.config, anchors))
    changed.load_state_dict(model.state_dict())
    return changed.eval()
