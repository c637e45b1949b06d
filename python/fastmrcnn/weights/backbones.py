"""The weights of a backbone alone: ResNets and ResNeXts of torchvision, timm and others, into a model that exists."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN
from fastmrcnn.weights.channels import FIRST_CONVOLUTION, adapt_filters
from fastmrcnn.weights.containers import read_content
from fastmrcnn.weights.download import fetch
from fastmrcnn.weights.plain_resnet import caffe2_backbone_name, detectron2_backbone_name, plain_name
from fastmrcnn.weights.store import check_tensors

__all__ = ["BACKBONES", "load_backbone"]

_log = logging.getLogger(__name__)

# torchvision's ImageNet classifiers; the eight digits begin the SHA-256 of the file.
_TORCHVISION = {
    f"torchvision/{name}": f"https://download.pytorch.org/models/{file}.pth"
    for name, file in {
        "resnet18": "resnet18-f37072fd",
        "resnet34": "resnet34-b627a593",
        "resnet50": "resnet50-0676ba61",
        "resnet50_imagenet1k_v2": "resnet50-11ad3fa6",
        "resnet101": "resnet101-63fe2227",
        "resnet101_imagenet1k_v2": "resnet101-cd907fc2",
        "resnet152": "resnet152-394f9c45",
        "resnet152_imagenet1k_v2": "resnet152-f82ba261",
        "resnext50_32x4d": "resnext50_32x4d-7cdf4587",
        "resnext50_32x4d_imagenet1k_v2": "resnext50_32x4d-1a0047aa",
        "resnext101_32x8d": "resnext101_32x8d-8ba56ff5",
        "resnext101_32x8d_imagenet1k_v2": "resnext101_32x8d-110c445d",
    }.items()
}

# What detectron2's models start from: MSRA's ResNets and a ResNeXt of FAIR's. No digests are published.
_DETECTRON2_START = {
    f"detectron2/{name}": f"https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/{trainer}/{name}.pkl"
    for name, trainer in {"R-50": "MSRA", "R-101": "MSRA", "X-101-32x8d": "FAIR"}.items()
}

BACKBONES = {**_TORCHVISION, **_DETECTRON2_START}


class Layout(NamedTuple):
    """How a kind of file names the tensors of a backbone."""

    sign: str  # the end of the name that gives such a file away
    parts: tuple[str, ...]  # what the names of the backbone's tensors begin with
    name_of: Callable[[str], str]  # from the names within our backbone


_PLAIN = Layout("layer1.0.conv1.weight", ("conv1.", "bn1.", "layer"), plain_name)
_DETECTRON2 = Layout("res2.0.conv1.weight", ("stem.conv1.", "res"), detectron2_backbone_name)
_CAFFE2 = Layout("res2_0_branch2a_w", ("conv1_w", "res"), caffe2_backbone_name)
_OWN = Layout("stages.0.0.conv1.conv.weight", ("stem.", "stages."), lambda name: name)


def load_backbone(model: MaskRCNN, path_or_name: str | os.PathLike[str]) -> None:
    """Put the weights of a backbone that was trained elsewhere, usually on ImageNet, into ``model``.

    Reads plain ResNets and ResNeXts under the names of torchvision, which timm shares, from ``.pth`` and
    ``.safetensors`` files, bare or inside a trainer's checkpoint; those that detectron2 starts from (``R-50.pkl``); and
    the backbones of torchvision's and detectron2's FPN detectors and of this library's own models. What else a file
    holds (the classifier, the heads of a detector) is left out, and the log says so. Stage 5 of a C4 model goes to its
    heads.

    The architecture must be the model's. A file does not say how its network strides and normalises images: those of
    torchvision and timm want ``stride_in_1x1=False`` and the defaults of ``InputConfig``, as our own presets have them;
    MSRA's ``R-50.pkl`` and ``R-101.pkl`` want both as in the preset ``detectron2_rcnn``. For a model of another number
    of channels than the file's the first convolution is made to fit
    (:func:`~fastmrcnn.weights.channels.adapt_filters`).

    Args:
        path_or_name: a file, or a name, fetched into a cache the first time: one of torchvision's classifiers such as
            "torchvision/resnet50", or "detectron2/R-50" and its like (:data:`BACKBONES`).

    Raises:
        UserError: no such file or name, or its tensors are not those of the model's backbone; the model then is as it
            was.

    >>> model = MaskRCNN(maskrcnn_resnet50_fpn(["cat", "dog"]))  # doctest: +SKIP
    >>> load_backbone(model, "torchvision/resnet50")  # doctest: +SKIP
    """
    path = _find(path_or_name)
    tensors = read_content(path).tensors
    layout, prefix = _layout_of(tensors, str(path))
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    found = {name: tensor for name, tensor in inside.items() if name.startswith(layout.parts)}
    own = {layout.name_of(name): tensor for name, tensor in _backbone_of(model).items()}
    if layout is not _OWN and model.config.backbone.norm == "gn":
        expected = "a model with batch normalisation or 32 groups (gn32), as ResNets have elsewhere"
        raise UserError(f"{path}: expected {expected}; the norm of its backbone is 'gn'")
    if layout is _CAFFE2:
        found = _with_statistics(found, own, model.config.backbone.norm_eps)
    first = layout.name_of(FIRST_CONVOLUTION)
    if first in found and found[first].ndim == 4:
        found[first] = adapt_filters(found[first], model.config.input.channels)
    _check(own, found, prefix, str(path))
    with torch.no_grad():
        for name, tensor in own.items():
            if name in found:
                tensor.copy_(found[name])
    others = [name for name in tensors if name.removeprefix(prefix) not in found]
    _log.info("%s: loaded the backbone; %s", path, _left_out(others))


def _left_out(names: Sequence[str]) -> str:
    if not names:
        return "the file holds nothing else"
    more = ", ..." if len(names) > 3 else ""
    return f"left out {len(names)} other tensors: {', '.join(names[:3])}{more}"


def _find(path_or_name: str | os.PathLike[str]) -> Path:
    path = Path(path_or_name)
    if path.is_file():
        return path
    if url := BACKBONES.get(str(path_or_name)):
        published = str(path_or_name) in _TORCHVISION
        return fetch(url, checksum=f"sha256:{url.removesuffix('.pth').rpartition('-')[2]}" if published else "")
    names = ", ".join(BACKBONES)
    raise UserError(f"{path}: expected a weights file or the name of a backbone ({names}); found neither")


def _layout_of(tensors: Mapping[str, Tensor], source: str) -> tuple[Layout, str]:
    """The layout of a file, and what stands before the backbone's names there."""
    for layout in (_PLAIN, _DETECTRON2, _CAFFE2, _OWN):
        ends = (layout.sign, "." + layout.sign)
        prefixes = [name.removesuffix(layout.sign) for name in tensors if name == ends[0] or name.endswith(ends[1])]
        if len(prefixes) > 1:
            listed = " and ".join(repr(prefix) for prefix in prefixes)
            raise UserError(f"{source}: expected one ResNet; found {len(prefixes)}, whose names begin with {listed}")
        if prefixes:
            return layout, prefixes[0]
    beginning = ", ".join(list(tensors)[:3]) or "none"
    raise UserError(
        f"{source}: expected a ResNet or ResNeXt, with a tensor {_PLAIN.sign!r}; it begins with {beginning}"
    )


def _backbone_of(model: MaskRCNN) -> dict[str, Tensor]:
    """The model's own tensors by their names in a backbone of four stages."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("backbone."):
            tensors[name.removeprefix("backbone.")] = tensor
        elif name.startswith("roi_heads.res5."):
            tensors["stages.3." + name.removeprefix("roi_heads.res5.")] = tensor
    return tensors


def _with_statistics(found: Mapping[str, Tensor], own: Mapping[str, Tensor], eps: float) -> dict[str, Tensor]:
    """The running statistics that leave scale and shift alone, where a file holds nothing else."""
    if any(name.endswith("_bn_rm") for name in found):
        return dict(found)
    means = {name: torch.zeros_like(tensor) for name, tensor in own.items() if name.endswith("_bn_rm")}
    variances = {name: torch.full_like(tensor, 1 - eps) for name, tensor in own.items() if name.endswith("_bn_riv")}
    return {**means, **variances, **found}


def _check(own: Mapping[str, Tensor], found: Mapping[str, Tensor], prefix: str, source: str) -> None:
    """UserError where ``found`` does not fill ``own``; what counts batches may be in either alone."""

    def counts(name: str) -> bool:
        return name.endswith("num_batches_tracked")

    check_tensors(
        {prefix + name: tensor.shape for name, tensor in own.items() if not counts(name)},
        {prefix + name: tensor for name, tensor in found.items() if not counts(name)},
        source,
    )
