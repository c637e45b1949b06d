"""The names that the ResNets of others have for our tensors: torchvision's, which timm shares, and both Detectrons'."""

from __future__ import annotations

import re
from collections.abc import Sequence

Rules = Sequence[tuple[str, str]]  # (regular expression, what takes the place of what it matches)

_OUR_TO_PLAIN = [
    (r"^stem\.conv1\.conv\.", "conv1."),
    (r"^stem\.conv1\.norm\.", "bn1."),
    *((rf"^stages\.{index}\.", f"layer{index + 1}.") for index in range(4)),
    (r"\.conv(\d)\.conv\.", r".conv\1."),
    (r"\.conv(\d)\.norm\.", r".bn\1."),
    (r"\.shortcut\.conv\.", ".downsample.0."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
]

_OUR_TO_DETECTRON2 = [
    *((rf"^stages\.{index}\.", f"res{index + 2}.") for index in range(4)),
    (r"\.conv\.", "."),
]

_OUR_TO_CAFFE2 = [
    (r"^stem\.conv1\.norm\.", "res.conv1.norm."),
    (r"^stem\.", ""),
    *((rf"^stages\.{index}\.", f"res{index + 2}.") for index in range(4)),
    *((rf"(\d)\.conv{index}\.", rf"\1.branch2{letter}.") for index, letter in ((1, "a"), (2, "b"), (3, "c"))),
    (r"\.shortcut\.", ".branch1."),
    (r"\.conv\.weight$", ".w"),
    (r"\.norm\.weight$", ".bn.s"),
    (r"\.norm\.bias$", ".bn.b"),
    (r"\.norm\.running_mean$", ".bn.rm"),
    (r"\.norm\.running_var$", ".bn.riv"),
    (r"\.", "_"),
]


def renamed(name: str, rules: Rules) -> str:
    """``name`` after all ``rules``, one after the other."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def plain_name(name: str) -> str:
    """The name in a plain ResNet of a tensor of our backbone.

    >>> plain_name("stages.2.5.conv3.norm.running_mean")
    'layer3.5.bn3.running_mean'
    """
    return renamed(name, _OUR_TO_PLAIN)


def detectron2_backbone_name(name: str) -> str:
    """The name in a ResNet of detectron2 of a tensor of our backbone.

    >>> detectron2_backbone_name("stages.2.5.conv3.conv.weight")
    'res4.5.conv3.weight'
    """
    return renamed(name, _OUR_TO_DETECTRON2)


def caffe2_backbone_name(name: str) -> str:
    """The name of a tensor of our backbone in the ResNets of the first Detectron, which detectron2 starts from.

    >>> caffe2_backbone_name("stages.2.5.conv3.conv.weight")
    'res4_5_branch2c_w'
    """
    return renamed(name, _OUR_TO_CAFFE2)
