"""What of the GPU benchmarks can be tested without a GPU: goals, rows, files, the script. The rest runs on one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("torchvision", reason="torchvision is the peer")

from benchmarks.case import Work
from benchmarks.cases import OPERATORS
from benchmarks.gpu.__main__ import FAMILIES, TINY, WORKLOAD, main
from benchmarks.gpu.goals import goal_of
from benchmarks.gpu.limits import DeviceLimits
from benchmarks.gpu.results import HEADER, Row, make_row, write
from benchmarks.gpu.timing import DeviceTiming

ROOT = Path(__file__).parents[2]
RunScript = Callable[..., tuple[int, list[str], list[str]]]  # its status, the calls that it made, and its log
LIMITS = DeviceLimits(4000.0, 2000.0, 8000.0, 700.0)


def timing(median_ms: float) -> DeviceTiming:
    return DeviceTiming(median_ms, median_ms, 0.1, 15, 3, median_ms / 2, 0)


def row_of(median_ms: float) -> Row:
    [case, *_] = [case for case in OPERATORS["rpn"](WORKLOAD) if case.layout == "NHWC"]
    timings = (timing(1.0), timing(median_ms))
    return make_row("rpn", case, goal_of(case), "torchvision", Work(4e6, 2e6), LIMITS, timings, "identical")


def test_the_goals_belong_to_cases() -> None:
    goals = {case.name: goal_of(case) for family in OPERATORS.values() for case in family(WORKLOAD)}
    assert goals["box head P2..P5 7x7 s=2 float32 NHWC"].milliseconds == pytest.approx(0.2)
    assert goals["box head P2..P5 7x7 s=2 float16 NHWC"].milliseconds == pytest.approx(0.11)
    assert goals["box head P2..P5 7x7 s=2 float32 NCHW"].ratio == 2
    assert goals["box head P2..P5 backward 7x7 s=2 float32 NHWC"].milliseconds == pytest.approx(0.165)
    assert goals["nms 12000 random 0.5 float32"].milliseconds == pytest.approx(0.12)
    assert goals["RPN post-processing float32 NHWC"].ratio == 15
    assert goals["paste 100 masks to bool, method exact float32"].ratio == 100
    assert goals["paste 100 masks to RLE, method exact float32"].milliseconds == pytest.approx(0.02)
    assert goals["match anchors x 200 objects float32"].ratio == 5
    models = {case.name: goal_of(case).milliseconds for case in FAMILIES["whole_model"](WORKLOAD)}
    assert models["R50-FPN inference, 1 x 800x1333, CUDA graph float16 NHWC"] == 4
    assert models["R50-FPN inference, 8 x 800x1333, CUDA graph float16 NHWC"] == pytest.approx(8 / 450 * 1e3)
    assert models["R50-FPN inference, 1 x 800x1333, optimised float16 NHWC"] == 4
    assert models["R50-FPN training step, 2 x 800x1333 bfloat16 NHWC"] == pytest.approx(10)
    assert models["R50-FPN training step, 2 x 800x1333 float32 NHWC"] is None


def test_a_row() -> None:
    row = row_of(0.05)
    assert row.ratio == pytest.approx(20)
    assert row.limit_ms == pytest.approx(4e6 / 4000e6 + 2e6 / 2000e6)
    assert row.limit_fraction == pytest.approx(0.002 / 0.025)
    assert row.goal_met
    assert row_of(0.07).goal_met is False
    assert len(row.line().split(" | ")) == len(HEADER.splitlines()[0].split(" | "))


def test_results_are_written(tmp_path: Path) -> None:
    path = tmp_path / "results" / "gpu.json"
    write(path, "python -m benchmarks.gpu", {"device": "a GPU"}, LIMITS, [row_of(0.05)], {"nms": "ValueError: no"})
    found = json.loads(path.read_text())
    assert found["rows"][0]["ours"]["median_ms"] == 0.05
    assert found["limits"]["copy_gb_per_s"] == 4000
    assert found["failures"] == {"nms": "ValueError: no"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(SystemExit, match="expected a CUDA device"):
        main(["--quick"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.slow
def test_every_case_runs_and_agrees(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    assert main(["--quick", "--rounds", "5", "--json", str(path)]) == 0
    assert {row["family"] for row in json.loads(path.read_text())["rows"]} == set(FAMILIES)
    assert TINY.device == "cuda"


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """Runs the script on a machine whose programs only write down how they are called, and fail where it is asked."""
    programs, calls = tmp_path / "bin", tmp_path / "calls.txt"
    programs.mkdir()
    for name in ("python", "nvcc", "nvidia-smi", "compute-sanitizer"):
        program = programs / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {calls}\ncase "{name} $*" in *${{FAIL:-nothing}}*) exit 3;; esac\n'
        )
        program.chmod(0o755)

    def run(**environment: str) -> tuple[int, list[str], list[str]]:
        here = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": "python", "TMPDIR": str(tmp_path)}
        command = [ROOT / "benchmarks" / "run_gpu.sh", tmp_path / "out"]
        done = subprocess.run(command, env=os.environ | here | environment, capture_output=True, check=False)
        log = (tmp_path / "out" / "log.txt").read_text().splitlines()
        return done.returncode, calls.read_text().splitlines(), log

    return run


def test_the_script_runs_every_step(run_script: RunScript, tmp_path: Path) -> None:
    status, calls, log = run_script()
    assert status == 0, log
    assert log[-1].endswith("all steps passed")
    assert any(
        call.startswith("python -m pip") and call.endswith("--no-build-isolation --no-index .") for call in calls
    )
    tools = {call.split("--tool ")[1].split()[0] for call in calls if call.startswith("compute-sanitizer")}
    assert tools == {"memcheck", "racecheck", "initcheck", "synccheck"}
    assert f"python -m benchmarks.gpu --json {tmp_path}/out/gpu.json" in calls
    [tests] = [call.split() for call in calls if call.startswith("python -m pytest")]
    paths = [ROOT / argument for argument in tests if argument.startswith("tests/")]
    assert paths
    assert all(path.exists() for path in paths)


@pytest.mark.parametrize(("fail", "step"), [("racecheck", "compute-sanitizer"), ("pip", "build and install")])
def test_the_script_goes_on_after_a_step_that_fails(fail: str, step: str, run_script: RunScript) -> None:
    status, calls, log = run_script(FAIL=fail)
    assert status == 1
    assert log[-1].endswith(f": {step}")
    assert "benchmarks.gpu" in calls[-1]


def test_the_script_keeps_to_its_time(run_script: RunScript) -> None:
    """A step that comes too late has a second; none is left out of the log."""
    status, _, log = run_script(BUDGET="0")
    assert status in (0, 1)
    assert sum(line.startswith("=== ") for line in log) == 6
