"""``load_model``: from a file or a shipped name to a model that is ready to use."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastmrcnn.errors import UserError, first_line
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.config import as_names
from fastmrcnn.weights.download import sha256_of
from fastmrcnn.weights.published import PUBLISHED
from fastmrcnn.weights.store import read_model
from fastmrcnn.weights.torchvision import from_torchvision, is_torchvision_state

# Files whose models compute with batch normalisation without epsilon, by the beginning of their SHA-256.
_EPSILON_FREE = {"bf2d0c1e": "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"}

# The layers whose outputs are one group per class, the background first.
CLASS_DEPENDENT = ("roi_heads.box_head.classifier.", "roi_heads.box_head.deltas.", "roi_heads.mask_head.logits.")
NEW_CLASS = -1

_log = logging.getLogger(__name__)


def load_model(path_or_name: str | os.PathLike[str], *, device: torch.device | str | None = None) -> MaskRCNN:
    """Load a model, ready to use.

    Args:
        path_or_name: a file of :func:`save_model`, a ``.pth`` state_dict of torchvision's ``maskrcnn_resnet50_fpn``, or
            the name of a model that is shipped with the package ("tiny") or published by others
            ("torchvision/maskrcnn_resnet50_fpn", fetched into a cache the first time).
        device: where to put it; the CPU when left out.

    Returns:
        The model in evaluation mode.

    Raises:
        UserError: no such file or name; the file cannot be fetched, is of another kind, damaged, or does not hold what
            its configuration says. The message names the file, the tensor, what was expected and what was found.

    >>> import fastmrcnn
    >>> model = fastmrcnn.load_model("tiny")  # doctest: +SKIP
    >>> model.predict("photograph.jpg")  # doctest: +SKIP
    """
    path = _find(path_or_name)
    model = read_model(path) if _is_safetensors(path) else _read_torch_file(path)
    return model if device is None else model.to(device)


def load_model_for_finetuning(
    path_or_name: str | os.PathLike[str],
    class_names: Sequence[str],
    category_ids: Sequence[int] = (),
    *,
    device: torch.device | str | None = None,
) -> MaskRCNN:
    """Load a model as the start for training on other classes.

    All weights are kept but those of the outputs that depend on the classes (class scores, boxes, masks): for a class
    that the loaded model knows by the same name, and for the background, theirs are kept too; for new classes they
    start from small random values of torch's default generator. What was kept is logged at level INFO.

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
    state = old.state_dict()
    for name, fresh in new.state_dict().items():
        if name.startswith(CLASS_DEPENDENT):
            state[name] = transfer_rows(state[name], fresh, rows)
    new.load_state_dict(state)
    known = [name for name in class_names if name in row_of]
    _log.info("%s: kept all layers; class outputs kept for %s", path_or_name, ", ".join(known) or "no class")
    new.eval()
    return new if device is None else new.to(device)


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


def shipped_models() -> list[str]:
    """The names that :func:`load_model` knows without a file."""
    assets = resources.files("fastmrcnn") / "assets"
    return sorted(Path(entry.name).stem for entry in assets.iterdir() if entry.name.endswith(".safetensors"))


def _find(path_or_name: str | os.PathLike[str]) -> Path:
    path = Path(path_or_name)
    if path.is_file():
        return path
    shipped = shipped_models()
    if str(path_or_name) in shipped:
        return Path(str(resources.files("fastmrcnn") / "assets" / f"{path_or_name}.safetensors"))
    if path.is_dir():
        raise UserError(f"{path}: expected a weights file; this is a folder")
    if published := PUBLISHED.get(str(path_or_name)):
        return published.fetch()
    names = ", ".join([*shipped, *PUBLISHED])
    raise UserError(f"{path}: expected a weights file or the name of a model ({names}); found neither")


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of length, then the JSON header; torch's own files begin as a zip archive or a pickle."""
    try:
        with path.open("rb") as file:
            beginning = file.read(9)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not beginning:
        raise UserError(f"{path}: expected a safetensors file or a torchvision .pth; the file is empty")
    if beginning[8:] == b"{":
        return True
    if beginning.startswith((b"PK\x03\x04", b"\x80\x02")):
        return False
    raise UserError(f"{path}: expected a safetensors file or a torchvision .pth; it begins with {beginning!r}")


def _read_torch_file(path: Path) -> MaskRCNN:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive or pickle ends in any of a dozen types
        reason = first_line(error)
        raise UserError(f"{path}: expected a state_dict of plain tensors; it cannot be read: {reason}") from None
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not is_torchvision_state(state):
        raise UserError(
            f"{path}: expected a state_dict of torchvision's maskrcnn_resnet50_fpn; it holds something else"
        )
    eps = 0.0 if sha256_of(path)[:8] in _EPSILON_FREE else 1e-5
    return from_torchvision(state, norm_eps=eps, source=str(path))
