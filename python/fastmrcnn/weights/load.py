"""``load_model``: from a file or a name to a model that is ready to use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

import torch

from fastmrcnn.errors import UserError, first_line
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.config import as_names
from fastmrcnn.weights.containers import read_content
from fastmrcnn.weights.store import from_own, is_own_state


def load_model(
    path_or_name: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] = (),
    device: torch.device | str | None = None,
) -> MaskRCNN:
    """Load a model, ready to use.

    It computes as the system that its weights come from: which one, and which architecture, is read off the tensors.

    Args:
        path_or_name: a file, or the name of a model that is shipped with the package ("tiny") or published by others
            ("torchvision/maskrcnn_resnet50_fpn", fetched into a cache the first time). The file is one of
            :func:`save_model`, or one of the families of :mod:`fastmrcnn.weights.families`, whatever its suffix.
        class_names, category_ids: of the classes that the weights detect, in their order, for files that do not hold
            them: those of other systems. Left out, they are COCO's where the number of classes says so, else class-1,
            class-2, ... and 1, 2, ...
        device: where to put it; the CPU when left out.

    Returns:
        The model in evaluation mode.

    Raises:
        UserError: no such file, name or device; the file cannot be fetched, is of another kind, damaged, or does not
            hold what its configuration says. The message names the file, the tensor, what was expected and what was
            found.

    >>> import fastmrcnn
    >>> model = fastmrcnn.load_model("tiny")  # doctest: +SKIP
    >>> model.predict("photograph.jpg")  # doctest: +SKIP
    """
    model = read_model(find_file(path_or_name), class_names, category_ids)
    return model if device is None else _moved(model, device)


def _moved(model: MaskRCNN, device: torch.device | str) -> MaskRCNN:
    try:
        return model.to(device)
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError) as error:  # the latter of a torch without CUDA
        raise UserError(
            f"load_model: device must be one of this machine's, such as cpu, or cuda where there is a GPU; "
            f"got {str(device)!r}: {first_line(error)}"
        ) from None


def read_model(path: Path, class_names: Sequence[str] | None = None, category_ids: Sequence[int] = ()) -> MaskRCNN:
    """The model in a file of any of the families, on the CPU in evaluation mode; see :func:`load_model`."""
    content = read_content(path)
    if is_own_state(content.tensors, content.metadata):
        model = from_own(content.tensors, content.metadata, str(path))
        return model if class_names is None else _renamed(model, class_names, category_ids, path)
    from fastmrcnn.weights.families import family_of  # four readers, of which the library's own files need none
    from fastmrcnn.weights.published import details_of

    family = family_of(content.tensors, str(path))
    return family.read(
        content.tensors,
        class_names=class_names,
        category_ids=category_ids,
        source=str(path),
        **details_of(path, family.name),
    )


def shipped_models() -> list[str]:
    """The names that :func:`load_model` knows without a file."""
    assets = resources.files("fastmrcnn") / "assets"
    return sorted(Path(entry.name).stem for entry in assets.iterdir() if entry.name.endswith(".safetensors"))


def find_file(path_or_name: str | os.PathLike[str]) -> Path:
    """The file that a path or the name of a model stands for, fetched where need be."""
    path = Path(path_or_name)
    if path.is_file():
        return path
    shipped = shipped_models()
    if str(path_or_name) in shipped:
        return Path(str(resources.files("fastmrcnn") / "assets" / f"{path_or_name}.safetensors"))
    if path.is_dir():
        best = path / "best.safetensors"
        hint = f" (did you mean {best}?)" if best.is_file() else ""
        raise UserError(f"{path}: expected a weights file; this is a folder{hint}")
    from fastmrcnn.weights.backbones import BACKBONES  # these bring what transfers files
    from fastmrcnn.weights.published import PUBLISHED

    if published := PUBLISHED.get(str(path_or_name)):
        return published.fetch()
    if str(path_or_name) in BACKBONES:
        raise UserError(f"{path_or_name}: expected the name of a whole model; load_backbone takes this one")
    names = [*shipped, *PUBLISHED]
    near = get_close_matches(str(path_or_name), names, n=3, cutoff=0.5) or [
        *shipped,
        "detectron2/mask_rcnn_R_50_FPN_3x",
    ]
    raise UserError(
        f"{path}: expected a weights file or the name of a model, such as {' or '.join(near)} "
        f"(MODELS.md lists them all); found neither"
    )


def _renamed(model: MaskRCNN, class_names: Sequence[str], category_ids: Sequence[int], path: Path) -> MaskRCNN:
    if len(class_names) != model.config.num_classes:
        raise UserError(f"{path}: expected {model.config.num_classes} class_names; got {len(class_names)}")
    model.config = replace(model.config, class_names=as_names(class_names), category_ids=tuple(category_ids))
    return model
