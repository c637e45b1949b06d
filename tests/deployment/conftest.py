"""The shipped model, as it is and made fast."""

from __future__ import annotations

import pytest

from fastmrcnn.deployment import OptimizedMaskRCNN, optimize
from fastmrcnn.models import MaskRCNN
from fastmrcnn.weights import load_model


@pytest.fixture(scope="module")
def shipped() -> MaskRCNN:
    return load_model("tiny")


@pytest.fixture(scope="module")
def fast(shipped: MaskRCNN) -> OptimizedMaskRCNN:
    return optimize(shipped, precision="float32")
