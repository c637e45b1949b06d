"""Starting from a model that others have trained, for other classes."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.models.config import as_names
from fastmrcnn.weights.load import load_model
from fastmrcnn.weights.store import shapes_of

NEW_CLASS = -1

_log = logging.getLogger(__name__)


def load_model_for_finetuning(
    path_or_name: str | os.PathLike[str],
    class_names: Sequence[str],
    category_ids: Sequence[int] = (),
    *,
    device: torch.device | str | None = None,
) -> MaskRCNN:
    """Load a model as the start for training on other classes.

    All weights are kept but those of the outputs that depend on the classes (class scores; boxes and masks, where each
    class has its own): for a class that the loaded model knows by the same name, and for the background, theirs are
    kept too; for new classes they start from small random values of torch's default generator. What was kept and what
    is new is logged at level INFO.

    Args:
        path_or_name, device: as for :func:`load_model`.
        class_names, category_ids: of the new data set; ids 1, 2, .. when left out.

    Returns:
        The model, in evaluation mode.
    """
    old = load_model(path_or_name)
    config = replace(old.config, class_names=as_names(class_names), category_ids=tuple(category_ids))
    new = MaskRCNN(config)
    row_of = {name: row for row, name in enumerate(old.config.class_names, start=1)}
    rows = [0, *(row_of.get(name, NEW_CLASS) for name in class_names)]
    state, fresh = old.state_dict(), new.state_dict()
    predictors = class_dependent(config)
    for name in predictors:
        state[name] = transfer_rows(state[name], fresh[name], rows)
    new.load_state_dict(state)
    new.eval()
    _log.info("%s: %s", path_or_name, _summary(class_names, row_of, predictors, len(state)))
    return new if device is None else new.to(device)


def class_dependent(config: MaskRCNNConfig) -> list[str]:
    """The tensors whose size depends on the number of classes, whatever heads the network has."""
    more = replace(config, class_names=(*config.class_names, "\0one more"), category_ids=())
    own, larger = shapes_of(config), shapes_of(more)
    return [name for name, shape in own.items() if shape != larger[name]]


def transfer_rows(old: Tensor, fresh: Tensor, rows: Sequence[int]) -> Tensor:
    """``fresh`` with the outputs of each class c taken from class ``rows[c]`` of ``old``, but for new classes.

    Both have outputs first, the same number for every class: [classes * k, ...].
    """
    by_class = fresh.clone().unflatten(0, (len(rows), -1))
    old_by_class = old.unflatten(0, (-1, by_class.shape[1]))
    for target, source in enumerate(rows):
        if source != NEW_CLASS:
            by_class[target] = old_by_class[source]
    merged: Tensor = by_class.flatten(0, 1)
    return merged


def _summary(class_names: Sequence[str], row_of: dict[str, int], predictors: list[str], tensors: int) -> str:
    """``kept all 98 tensors but the outputs of star in roi_heads.box_head.classifier, ...; those of box are kept``."""
    known = [name for name in class_names if name in row_of]
    new = [name for name in class_names if name not in row_of]
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in predictors))
    if not new or not layers:
        return f"kept all {tensors} tensors"
    kept = f"those of {_listed(known)} and the background are" if known else "that of the background is"
    return f"kept all {tensors} tensors but the outputs of {_listed(new)} in {', '.join(layers)}; {kept} kept"


def _listed(names: Sequence[str], most: int = 8) -> str:
    """The names in one line, the first few of many."""
    return (
        ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    )
