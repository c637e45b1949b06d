"""Device names."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.inference import device, resolve_device


def test_cpu_and_auto() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta"])
def test_a_device_that_does_not_work(name: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_device(name)
    expected = f"device must be auto, cpu, or cuda (cuda:1, ...) where there is a GPU; got '{name}': "
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert name != "abacus" or str(caught.value) == f"{expected}no such device"  # not all that torch has names for


def test_a_gpu_that_auto_cannot_use_is_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = tmp_path / "nvidia0"
    gpu.touch()
    monkeypatch.setattr(device, "_GPU", gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    device._say.cache_clear()
    with caplog.at_level(logging.WARNING):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
        assert resolve_device("auto") == torch.device("cpu")
        assert not caplog.records
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        assert {resolve_device("auto"), resolve_device("auto")} == {torch.device("cpu")}
    [record] = caplog.records
    assert record.message.startswith("device: the CPU, though this machine has a GPU: torch ")
    assert record.message.endswith(" is built without CUDA")
