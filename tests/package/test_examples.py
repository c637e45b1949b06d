"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib.util
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastmrcnn

NAMES = {"np": np, "torch": torch}  # examples spare the reader these two imports


def examples() -> list[doctest.DocTest]:
    """The docstrings with examples in all modules but the extension, the `__main__`s, which run when imported, and
    those that an optional package is missing for."""
    names = [info.name for info in pkgutil.walk_packages(fastmrcnn.__path__, "fastmrcnn.")]
    left_out: tuple[str, ...] = () if importlib.util.find_spec("onnxscript") else ("fastmrcnn.deployment.onnx_",)
    chosen = [name for name in names if not name.endswith(("._C", ".__main__")) and not name.startswith(left_out)]
    modules = [importlib.import_module(name) for name in chosen]
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for module in [fastmrcnn, *modules] for test in finder.find(module, extraglobs=NAMES) if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_example(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where examples write their files
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=report.append)
    assert result.failed == 0, "".join(report)


def test_the_ablation_on_the_page_of_models() -> None:
    """The last example of MODELS.md, whose others fetch weights."""
    page = (Path(__file__).parents[2] / "MODELS.md").read_text(encoding="utf-8")
    _, snippet, _ = page.split("## Architectures and ablations")[1].split("```")
    names: dict[str, Any] = {}
    with torch.device("meta"):
        exec(snippet.removeprefix("python"), names)
    assert names["model"].config.mask_head.activation == "softmax"
