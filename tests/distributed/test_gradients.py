"""A step of two processes is that of one with the same images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastmrcnn.data.scenes import write_dataset
from tests.distributed.steps import CASES, step_of
from tests.distributed.torchrun import run


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of unequal sizes with unequal numbers of objects; every third has none."""
    folder = tmp_path_factory.mktemp("unequal")
    write_dataset(folder, images=7, seed=3, size=(64, 96), classes=("ball", "star"))
    document = json.loads((folder / "annotations.json").read_text())
    without = {image["id"] for image in document["images"][::3]}
    document["annotations"] = [item for item in document["annotations"] if item["image_id"] not in without]
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def of_two(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes has after the step."""
    output = tmp_path_factory.mktemp("two")
    done = run(Path(__file__).with_name("steps.py"), scenes, output)
    assert done.returncode == 0, done.stderr
    return [torch.load(output / f"{rank}.pt", weights_only=True) for rank in range(2)]


def worst(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The greatest difference of a tensor, relative to its size."""
    assert found.keys() == expected.keys()
    return max(
        float((found[name].double() - value).norm() / value.double().norm().clamp(min=1e-6))
        for name, value in expected.items()
    )


@pytest.mark.parametrize("case", [case for case in CASES if case != "own statistics"])
def test_the_gradient_is_that_of_one_process(case: str, scenes: Path, of_two: list[dict[str, Any]]) -> None:
    tolerance = 1e-12 if "float64" in case else 2e-3
    expected, found = step_of(scenes, case), of_two[0][case]
    assert found["row"] == pytest.approx(expected["row"], rel=tolerance)
    assert worst(found["gradients"], expected["gradients"]) < tolerance
    assert worst(found["weights"], expected["weights"]) < tolerance


@pytest.mark.parametrize("case", CASES)
def test_all_processes_have_the_same_bits(case: str, of_two: list[dict[str, Any]]) -> None:
    first, second = of_two[0][case], of_two[1][case]
    assert first["row"] == second["row"]
    for kind in ("gradients", "weights"):  # the latter with the running statistics of batch norms
        assert all(torch.equal(value, second[kind][name]) for name, value in first[kind].items())
