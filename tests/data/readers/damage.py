"""Damage to files and to JSON documents, of the kinds that people and disks do."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

STRANGE = [
    None,
    True,
    -1,
    0,
    3,
    1e300,
    float("nan"),
    2.5,
    "",
    "x",
    "é" * 300,
    "\x00",
    [],
    [[]],
    [1],
    [None],
    {},
    {"": 1},
]


def damage_value(document: Any, rng: np.random.Generator) -> Any:
    """A copy of a JSON value with something in it replaced, left out or said twice."""
    root = {"": copy.deepcopy(document)}
    holder, key = root, ""
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.9:
        holder = holder[key]
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = keys[rng.integers(len(keys))]
    if holder is not root and rng.random() < 0.2:
        del holder[key]
    elif isinstance(holder, list) and rng.random() < 0.2:
        holder.append(holder[key])
    else:
        holder[key] = STRANGE[rng.integers(len(STRANGE))]
    return root[""]


def damage_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes overwritten, or the end cut off."""
    damaged = bytearray(content)
    if rng.random() < 0.3:
        return bytes(damaged[: rng.integers(len(damaged))])
    for place in rng.integers(0, len(damaged), rng.integers(1, 5)):
        damaged[place] = rng.integers(256)
    return bytes(damaged)
