"""Starting from a model that others have trained, for other classes and keypoints."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.models.config import as_names
from fastmrcnn.weights.load import load_model
from fastmrcnn.weights.store import shapes_of

NEW = -1  # the row of an output that the old model does not have

_log = logging.getLogger(__name__)


def load_model_for_finetuning(
    path_or_name: str | os.PathLike[str],
    class_names: Sequence[str],
    category_ids: Sequence[int] = (),
    *,
    keypoint_names: Sequence[str] | None = None,
    device: torch.device | str | None = None,
) -> MaskRCNN:
    """Load a model as the start for training on other classes; see :func:`with_new_classes`.

    Args:
        path_or_name, device: as for :func:`load_model`.
        class_names, category_ids: of the new data set; ids 1, 2, .. when left out.
        keypoint_names: its keypoints, for a model that has some; the model's own when left out.

    Returns:
        The model, in evaluation mode.

    >>> model = load_model_for_finetuning("torchvision/maskrcnn_resnet50_fpn", ["person", "hat"])  # doctest: +SKIP
    """
    loaded = load_model(path_or_name)
    model = with_new_classes(loaded, class_names, category_ids, keypoint_names=keypoint_names, source=str(path_or_name))
    return model if device is None else model.to(device)


def with_new_classes(
    model: MaskRCNN,
    class_names: Sequence[str],
    category_ids: Sequence[int] = (),
    *,
    keypoint_names: Sequence[str] | None = None,
    source: str = "model",
) -> MaskRCNN:
    """A model for other classes, and other keypoints, that starts from the weights of ``model``.

    All weights are kept but those of the outputs that depend on the classes (class scores; boxes and masks, where each
    class has its own) or on the keypoints: for a class or a keypoint that ``model`` knows by the same name, and for the
    background, theirs are kept too; for new ones they start from small random values of torch's default generator.
    What was kept and what is new is logged at level INFO.

    Raises:
        UserError: keypoints for a model without a keypoint head; ``source`` names the model.
    """
    old = model.config
    config = replace(old, class_names=as_names(class_names), category_ids=tuple(category_ids))
    outputs = [_class_outputs(old, config)]
    if keypoint_names is not None:
        config = _with_keypoints(config, keypoint_names, source)
        outputs.append(_keypoint_outputs(old, config))
    new = MaskRCNN(config)
    fresh, state = new.state_dict(), model.state_dict()
    for kind in outputs:
        for name, axis in kind.axes.items():
            state[name] = transfer_rows(state[name], fresh[name], kind.rows, axis)
    new.load_state_dict(state)
    changes = " and ".join(kind.summary() for kind in outputs if kind.new and kind.axes)
    _log.info("%s: kept all %d tensors%s", source, len(state), f" but {changes}" if changes else "")
    return new.eval()


@dataclass(frozen=True)
class _Outputs:
    """The outputs for the classes, or those for the keypoints."""

    axes: dict[str, int]  # the tensors that hold them, and along which axis
    rows: list[int]  # where the old tensors hold each of the new outputs, or NEW
    known: list[str]
    new: list[str]

    def summary(self) -> str:
        """``the outputs of star in roi_heads.box_head.classifier, ... (those of box are kept)``."""
        layers = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in self.axes))
        kept = f" (those of {_listed(self.known)} are kept)" if self.known else ""
        return f"the outputs of {_listed(self.new)} in {layers}{kept}"


def _class_outputs(old: MaskRCNNConfig, config: MaskRCNNConfig) -> _Outputs:
    more = replace(config, class_names=(*config.class_names, _ONE_MORE), category_ids=())
    outputs = _outputs(growing(config, more), old.class_names, config.class_names)
    rows = [0, *(row if row == NEW else row + 1 for row in outputs.rows)]  # the background comes first
    return replace(outputs, rows=rows, known=["the background", *outputs.known])


def _keypoint_outputs(old: MaskRCNNConfig, config: MaskRCNNConfig) -> _Outputs:
    assert old.keypoint_head is not None
    assert config.keypoint_head is not None
    names = config.keypoint_head.keypoint_names
    more = _with_keypoints(config, (*names, _ONE_MORE), "")
    return _outputs(growing(config, more), old.keypoint_head.keypoint_names, names)


_ONE_MORE = "\0one more"


def _outputs(axes: dict[str, int], old: Sequence[str], names: Sequence[str]) -> _Outputs:
    row_of = {name: row for row, name in enumerate(old)}
    rows = [row_of.get(name, NEW) for name in names]
    known = [name for name in names if name in row_of]
    return _Outputs(axes, rows, known, [name for name in names if name not in row_of])


def _with_keypoints(config: MaskRCNNConfig, names: Sequence[str], source: str) -> MaskRCNNConfig:
    if config.keypoint_head is None:
        raise UserError(f"{source}: expected a model with a keypoint head, to learn {_listed(names)}; it has none")
    return replace(config, keypoint_head=replace(config.keypoint_head, keypoint_names=as_names(names)))


def growing(config: MaskRCNNConfig, larger: MaskRCNNConfig) -> dict[str, int]:
    """The tensors that are larger in a network of ``larger``, and the axis along which they are, whatever its heads."""
    own, other = shapes_of(config), shapes_of(larger)
    return {
        name: next(axis for axis, (size, grown) in enumerate(zip(shape, other[name], strict=True)) if size != grown)
        for name, shape in own.items()
        if shape != other[name]
    }


def transfer_rows(old: Tensor, fresh: Tensor, rows: Sequence[int], axis: int = 0) -> Tensor:
    """``fresh`` with the outputs i taken from outputs ``rows[i]`` of ``old``, but for new ones.

    Both have the outputs along ``axis``, the same number for every class or keypoint: [len(rows) * k, ...].
    """
    merged = fresh.movedim(axis, 0).clone()
    by_row = merged.unflatten(0, (len(rows), -1))
    old_by_row = old.movedim(axis, 0).unflatten(0, (-1, by_row.shape[1]))
    for target, source in enumerate(rows):
        if source != NEW:
            by_row[target] = old_by_row[source]
    return merged.movedim(0, axis)


def _listed(names: Sequence[str], most: int = 8) -> str:
    """The names in one line, the first few of many."""
    return (
        ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    )
