"""Device names."""

from __future__ import annotations

import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.inference import resolve_device


def test_cpu_and_auto() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta"])
def test_a_device_that_does_not_work(name: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_device(name)
    assert f"device must be auto, cpu or an accelerator that this build supports; got '{name}': " in str(caught.value)
    assert "\n" not in str(caught.value)
