"""`python -m benchmarks.exported`: it runs, and exports what the model detects."""

from __future__ import annotations

import pytest


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of compilers about themselves
def test_it_times_the_file_beside_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnxscript", "onnxruntime", "torchvision"):
        pytest.importorskip(package)
    from benchmarks import exported

    exported.main(["--quick", "--seconds", "1"])
    printed = capsys.readouterr().out
    assert "MB, exported in" in printed
    for name in ("torchvision, eager", "model", "fastmrcnn.optimize", "model.onnx in ONNX Runtime"):
        assert f"| {name} | " in printed
