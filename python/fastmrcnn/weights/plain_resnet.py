"""The names that plain ResNets have for our tensors: those of torchvision, which timm shares."""

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
