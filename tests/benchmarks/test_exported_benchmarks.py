"""`python -m benchmarks.exported`: it runs, and exports what a ResNet-50-FPN in its full width detects."""

from __future__ import annotations

import re

import pytest


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of compilers about themselves
def test_it_times_the_file_beside_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnxscript", "onnxruntime", "torchvision"):
        pytest.importorskip(package)
    from benchmarks import exported

    exported.main(["--quick", "--seconds", "1"])
    printed = capsys.readouterr().out
    agreement = re.search(r"MB, exported in .* s: (\d+) detections in 3 images: boxes within (\S+) px", printed)
    assert agreement is not None
    assert int(agreement[1]) >= 10
    assert float(agreement[2]) < 0.01
    assert "without a partner" not in printed
    for name in ("torchvision, eager", "model", "fastmrcnn.optimize", "model.onnx in ONNX Runtime"):
        assert f"| {name} | " in printed
