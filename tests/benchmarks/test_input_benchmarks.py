"""`python -m benchmarks.inputs`: it runs, and batches by shape hold little padding."""

from __future__ import annotations

import pytest

from benchmarks import inputs
from fastmrcnn.models import MaskRCNN, maskrcnn_resnet18_fpn


def test_it_measures_every_kind_of_call(capsys: pytest.CaptureFixture[str]) -> None:
    inputs.main(["--images", "3", "--size", "64", "48", "--readers", "0", "1", "--batch-size", "2", "--rounds", "1"])
    printed = capsys.readouterr().out
    assert "| 2 | 0 | " in printed
    assert "| 2 | 1 | " in printed
    assert "peak memory: " in printed


def test_photographs_have_little_padding_in_batches_by_shape() -> None:
    rows = inputs.padding_of_batches(MaskRCNN(maskrcnn_resnet18_fpn(["a"])), 8, images=512)
    assert rows["by shape"][1] < 0.06 < 0.3 < rows["in order"][1]
    assert rows["by shape"][0] > 7
