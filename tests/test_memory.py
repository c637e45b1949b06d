"""The memory of this process, now and at its peak."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fastmrcnn import memory
from fastmrcnn.memory import forget_peak, peak_bytes, resident_bytes

LARGE = 2**27


def test_the_peak_is_told_from_what_is_resident() -> None:
    if not forget_peak():
        pytest.skip("this system does not tell the peak anew")
    before = resident_bytes()
    pixels = np.ones(LARGE, dtype=np.uint8)
    assert resident_bytes() > before + LARGE / 2
    del pixels
    assert peak_bytes() > before + LARGE / 2 > resident_bytes()
    forget_peak()
    assert peak_bytes() < before + LARGE / 2


def test_where_the_system_tells_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_STATUS", Path(os.devnull))
    assert peak_bytes() >= resident_bytes() // 2 > 0
