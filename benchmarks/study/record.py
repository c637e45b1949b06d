"""The results of runs and their JSON file, which grows run by run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmarks.results import commit
from benchmarks.study.plain_loop import Fitted
from benchmarks.study.setting import Setting
from fastmrcnn.environment import environment
from fastmrcnn.files import finite, read_json, write_json

SCHEMA = 1  # of the file; raise it when a field changes its meaning
METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium")
LOSS_POINTS = 24  # of a curve


@dataclass(frozen=True)
class Run:
    """A variant trained with one seed. Average precision in 0..1; None of masks where there are none."""

    variant: str
    seed: int
    commit: str
    seconds: float
    images_per_second: float  # trained on, evaluations excluded
    box: dict[str, float | None]
    mask: dict[str, float | None]
    evaluations: list[dict[str, Any]]  # step, box_ap, mask_ap, mask_ap50
    losses: list[dict[str, Any]]  # means over a stretch of steps, of which ``step`` is the last

    def value(self, metric: str) -> float | None:
        """``mask AP75`` and the like."""
        kind, name = metric.split()
        return (self.box if kind == "box" else self.mask)[name]


@dataclass(frozen=True)
class Study:
    """All that was run so far."""

    setting: dict[str, Any]
    classifier: dict[str, Any]  # crops, accuracy, seconds
    versions: dict[str, str]
    runs: list[Run]

    def of(self, variant: str) -> dict[int, Run]:
        """The runs of a variant by their seed."""
        return {run.seed: run for run in sorted(self.runs, key=lambda run: run.seed) if run.variant == variant}


def make_run(variant: str, seed: int, fitted: Fitted) -> Run:
    assert fitted.evaluation is not None
    return Run(
        variant=variant,
        seed=seed,
        commit=commit(),
        seconds=round(fitted.seconds, 1),
        images_per_second=round(fitted.images_per_second, 2),
        box=_rounded({name: fitted.evaluation.box[name] for name in METRICS}),
        mask=_rounded({name: fitted.evaluation.mask[name] for name in METRICS}),
        evaluations=[_rounded(row) for row in fitted.metrics if "box_ap" in row],
        losses=_thinned([row for row in fitted.metrics if "loss" in row]),
    )


def read_study(path: Path) -> Study | None:
    """What a file holds; None where there is none yet."""
    if not path.exists():
        return None
    content = read_json(path, expected="the results of a study")
    if content.get("schema") != SCHEMA:
        raise SystemExit(f"{path}: expected schema {SCHEMA}; got {content.get('schema')}")
    content.pop("schema")
    return Study(**(content | {"runs": [Run(**values) for values in content["runs"]]}))


def add_run(path: Path, lock: Path, setting: Setting, classifier: dict[str, Any], run: Run) -> Study:
    """The file with one run more; processes that share the runs among them take turns."""
    with FileLock(lock):
        study = read_study(path) or Study(setting.to_dict(), classifier, _versions(), [])
        check_setting(path, study, setting)
        others = [other for other in study.runs if (other.variant, other.seed) != (run.variant, run.seed)]
        study = Study(study.setting, study.classifier, _versions(), [*others, run])
        write_json(path, {"schema": SCHEMA} | asdict(study), indent=1)
    return study


def check_setting(path: Path, study: Study, setting: Setting) -> None:
    """Runs of different settings cannot be compared: SystemExit."""
    for name, value in setting.to_dict().items():
        if study.setting.get(name) != value:
            raise SystemExit(
                f"{path}: holds runs with {name} {study.setting.get(name)}; got {value}: name another --json"
            )


def _versions() -> dict[str, str]:
    facts = environment()
    return {name: facts[name] for name in ("fastmrcnn", "python", "torch", "numpy", "instruction set")}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = finite(values)
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in kept.items()}


def _thinned(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The means of stretches of the rows."""
    length = math.ceil(len(rows) / LOSS_POINTS)
    stretches = [rows[first : first + length] for first in range(0, len(rows), length)]
    return [
        {"step": stretch[-1]["step"]}
        | _rounded(
            {name: sum(row[name] for row in stretch) / len(stretch) for name in stretch[0] if name.startswith("loss")}
        )
        for stretch in stretches
    ]
