"""How precisely a GPU computes convolutions, where results are compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_convolutions() -> Iterator[None]:
    """Convolutions of float32 in float32: cuDNN otherwise rounds what it multiplies to ten bits, and boxes move."""
    conv = getattr(torch.backends.cudnn, "conv", None)  # torch before 2.9 has one switch for all
    switch, name, exact = (
        (torch.backends.cudnn, "allow_tf32", False) if conv is None else (conv, "fp32_precision", "ieee")
    )
    before = getattr(switch, name)
    setattr(switch, name, exact)
    try:
        yield
    finally:
        setattr(switch, name, before)
