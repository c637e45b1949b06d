"""Training with a compiled trunk: the same losses and files, and one line where there is nothing to compile with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from fastmrcnn.errors import UserError
from fastmrcnn.models import compiling
from fastmrcnn.training import TrainConfig, state, train

# torch hides this warning of its own, but not from those who make errors of warnings.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def test_a_compiled_run_learns_the_same_and_can_go_on_without(
    make_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and differentiated as always, run without generated code, which takes minutes to make."""
    monkeypatch.setattr(state, "compile_trunk", partial(compiling.compile_trunk, backend="aot_eager"))
    plain_config = make_config(steps=2)
    plain = train(plain_config, progress=False)
    config = make_config(steps=2, compile=True, ema=0.5, output=plain_config.output.with_name("compiled"))
    compiled = train(config, progress=False)
    assert compiled.model.backbone._compiled_call_impl is None  # that of the average
    for own, expected in zip(compiled.metrics, plain.metrics, strict=True):
        assert own["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    files = [run.output / "checkpoints" / "step-00000002" / "weights.safetensors" for run in (plain, compiled)]
    assert load_file(files[0]).keys() == load_file(files[1]).keys()
    assert train(make_config(steps=3, ema=0.5, output=config.output), resume=True, progress=False).steps == 3


def test_the_trunk_is_what_is_compiled(
    make_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        seen.append(sum("conv" in str(node.target) for node in graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(state, "compile_trunk", partial(compiling.compile_trunk, backend=backend))
    train(make_config(steps=1, compile=True), progress=False)
    assert len(seen) >= 3  # backbone, pyramid, head of the proposals: each without a break, on every kind of level
    assert sum(seen) > 20


def test_without_a_compiler_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"^compile: expected a C\+\+ compiler \(.*\) on the PATH; there is none$"):
        compiling.check_compiler(torch.device("cpu"))
    monkeypatch.setenv("CXX", "icpx")
    with pytest.raises(UserError, match=r"^compile: expected the C\+\+ compiler that CXX names, icpx, on the PATH"):
        compiling.check_compiler(torch.device("cpu"))


def test_a_gpu_needs_triton_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: "/usr/bin/g++")
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    compiling.check_compiler(torch.device("cpu"))
    with pytest.raises(UserError, match=r"^compile: expected the package triton"):
        compiling.check_compiler(torch.device("cuda"))
