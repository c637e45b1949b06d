"""What a process loads before its first detection: each package costs time, and torch's own import is enough."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fastmrcnn

IMAGE = Path(fastmrcnn.__file__).parent / "assets" / "coins.png"

PREDICT = f"import fastmrcnn; assert len(fastmrcnn.load_model('tiny').predict({str(IMAGE)!r})) > 0"
HELP = "import contextlib, io, fastmrcnn.cli as c\nwith contextlib.redirect_stdout(io.StringIO()): c.main([{0!r}])"

# Compiler and algebra: torch imports them where it is asked for something unusual, and they take longer than itself.
SLOW_PARTS_OF_TORCH = ("torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes", "sympy")


def modules_after(code: str) -> set[str]:
    code += "\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def packages(modules: set[str]) -> set[str]:
    """What is neither Python's own nor compiled into it."""
    return {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"__main__"}


@pytest.fixture(scope="module")
def of_torch() -> set[str]:
    return modules_after("import torch, numpy")


@pytest.fixture(scope="module")
def of_python() -> set[str]:
    return packages(modules_after(""))  # what an environment loads into every process


def test_the_import_brings_the_package_alone(of_python: set[str]) -> None:
    assert packages(modules_after("import fastmrcnn")) - of_python == {"fastmrcnn"}


@pytest.mark.parametrize("words", ["--help", "--version"])
def test_the_command_line_answers_without_torch(words: str) -> None:
    heavy = {"torch", "torchvision", "numpy", "PIL", "matplotlib", "faster_coco_eval", "safetensors", "yaml"}
    assert not packages(modules_after(HELP.format(words))) & heavy


def test_a_prediction_takes_torch_pillow_and_safetensors(of_torch: set[str], of_python: set[str]) -> None:
    loaded = modules_after(PREDICT)
    assert packages(loaded - of_torch) - of_python <= {"fastmrcnn", "PIL", "safetensors", "torch", "numpy"}
    slow = {name for name in loaded - of_torch if name.startswith(SLOW_PARTS_OF_TORCH)}
    assert not slow, sorted(slow)[:5]
    # No reader of other software's files, and nothing that draws.
    own = {name.split(".", 1)[1] for name in loaded if name.startswith("fastmrcnn.")}
    others = {"weights.detectron2", "weights.matterport", "weights.torchvision", "weights.mmdetection"}
    assert not own & (others | {"weights.download", "visualisation", "data", "training", "inference", "cli"})


def test_the_command_that_predicts_loads_nothing_that_it_does_not_use(of_torch: set[str], tmp_path: Path) -> None:
    words = ["predict", str(IMAGE), "--device", "cpu", "--output", str(tmp_path / "found")]
    code = f"from fastmrcnn.cli import main\nwith contextlib.redirect_stdout(io.StringIO()): assert main({words}) == 0"
    loaded = modules_after(f"import contextlib, io\n{code}") - of_torch
    unused = {"torchvision", "matplotlib", "faster_coco_eval", "h5py", "tifffile", "av", "onnx", "supervision"}
    assert not packages(loaded) & unused
    assert not {name for name in loaded if name.startswith(SLOW_PARTS_OF_TORCH)}
