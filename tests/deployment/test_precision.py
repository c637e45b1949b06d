"""The precision of an optimised model: that of the machine, or the next one that its features do not exceed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fastmrcnn.deployment import optimize, precision
from fastmrcnn.models import MaskRCNN


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Sets the flags that the CPU seems to have."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)

    def of_cpu(*names: str) -> None:
        listed = tmp_path / "cpuinfo"
        listed.write_text(f"processor : 0\nflags : fpu {' '.join(names)}\n")
        monkeypatch.setattr(precision, "_CPU_FLAGS", listed)

    return of_cpu


def test_the_precision_follows_the_cpu(flags: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    flags("avx512f")
    assert precision.choose_precision("auto", cpu) == (
        torch.float32,
        "float32: this CPU has neither AMX nor AVX-512-BF16",
    )
    dtype, why = precision.choose_precision("bfloat16", cpu)
    assert (dtype, "emulate" in why) == (torch.bfloat16, True)
    for flag, name in (("avx512_bf16", "AVX-512-BF16"), ("amx_bf16", "AMX")):
        flags(flag)
        assert precision.choose_precision("auto", cpu) == (torch.bfloat16, f"bfloat16, which this CPU has {name} for")
    assert precision.choose_precision("float32", cpu)[0] == torch.float32
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")
    assert precision.choose_precision("auto", cpu)[0] == torch.float32
    monkeypatch.setattr(precision, "_CPU_FLAGS", Path("nowhere"))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert precision.cpu_bfloat16() is None
    with pytest.raises(ValueError, match="precision must be auto, float32, bfloat16, float16; got 'int8'"):
        precision.choose_precision("int8", cpu)  # type: ignore[arg-type]


def test_a_cpu_with_bfloat16_computes_in_it(shipped: MaskRCNN, flags: Any) -> None:
    flags("amx_bf16")
    fast = optimize(shipped, compile=False)
    step, deviation = fast.report.step("precision"), fast.report.deviation
    assert step.detail.startswith("bfloat16, which this CPU has AMX for: ")
    assert fast.backbone.stem.conv1.conv.weight.dtype == torch.bfloat16
    assert "convolutions of bfloat16 on the CPU are torch's" in fast.report.step("Winograd").detail
    assert deviation is not None
    assert (deviation.detections, deviation.alone) == (24, 0)
    assert 0 < deviation.box < 1
    assert fast.predict(torch.rand(3, 60, 80)).boxes.dtype == torch.float32


def test_a_precision_that_overflows_is_left(shipped: MaskRCNN) -> None:
    model = copy.deepcopy(shipped)
    model.backbone.stem.conv1.conv.weight.data.mul_(1e6)
    step = optimize(model, precision="bfloat16", compile=False, sample=[]).report.step("precision")
    assert step.done
    model.backbone.stem.conv1.conv.weight.data.mul_(torch.inf)
    fast = optimize(model, precision="bfloat16", compile=False, sample=[])
    assert str(fast.report.step("precision")) == (
        "precision: no: bfloat16 is not possible: features exceed its range; float32"
    )
    assert fast.precision == torch.float32


def test_heads_overflow_too(shipped: MaskRCNN) -> None:
    model = copy.deepcopy(shipped)
    assert model.roi_heads is not None
    model.roi_heads.box_head.layers[0].linear.weight.data.mul_(1e7)
    step = optimize(model, precision="float16", compile=False, sample=[]).report.step("precision")
    assert step.detail == "bfloat16: 41 layers; float16 is not possible: features exceed its range"
