"""The rows of a run on a GPU, their table and their JSON file."""

from __future__ import annotations

import datetime
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision

from benchmarks.case import Case, Goal, Work
from benchmarks.gpu.limits import DeviceLimits
from benchmarks.gpu.timing import DeviceTiming
from benchmarks.results import commit
from fastmrcnn import _C, __version__

HEADER = (
    "| operator | dtype | layout | torchvision, us | fastmrcnn, us | ratio | kernels (theirs, ours) | ours run, us "
    "| waits (theirs, ours) | of the limit | goal | met | results |\n"
    "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|---|"
)


@dataclass(frozen=True)
class Row:
    """Medians in milliseconds, from a cold cache."""

    family: str
    op: str
    dtype: str
    layout: str
    peer_name: str
    peer: DeviceTiming
    ours: DeviceTiming
    ratio: float
    limit_ms: float | None
    limit_fraction: float | None  # limit_ms / the time that our kernels ran
    goal: str
    goal_met: bool | None
    agreement: str

    def line(self) -> str:
        cells = [
            self.op,
            self.dtype,
            self.layout,
            _microseconds(self.peer.median_ms) + ("" if self.peer_name == "torchvision" else f" ({self.peer_name})"),
            _microseconds(self.ours.median_ms),
            f"x{self.ratio:.1f}",
            f"{self.peer.kernels}, {self.ours.kernels}",
            _microseconds(self.ours.kernels_ms),
            f"{self.peer.waits}, {self.ours.waits}",
            "" if self.limit_fraction is None else f"{self.limit_fraction:.0%}",
            self.goal,
            {True: "yes", False: "**no**", None: ""}[self.goal_met],
            self.agreement,
        ]
        return f"| {' | '.join(cells)} |"


def make_row(
    family: str,
    case: Case,
    goal: Goal,
    peer_name: str,
    work: Work | None,
    limits: DeviceLimits,
    timings: tuple[DeviceTiming, DeviceTiming],
    agreement: str,
) -> Row:
    peer, ours = timings
    limit_ms = limits.milliseconds(work) if work else None
    fraction = limit_ms / ours.kernels_ms if limit_ms and ours.kernels_ms else None
    ratio = peer.median_ms / ours.median_ms
    return Row(
        family,
        case.op,
        case.dtype,
        case.layout,
        peer_name,
        peer,
        ours,
        ratio,
        limit_ms,
        fraction,
        str(goal),
        goal.is_met(ratio, ours.median_ms, fraction, None),
        agreement,
    )


def device_facts() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "versions": {
            "fastmrcnn": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "driver": _C.cuda_info()["driver_version"],
            "toolkit": _C.cuda_info()["toolkit_version"],
        },
    }


def write(
    path: Path, command: str, facts: dict[str, Any], limits: DeviceLimits, rows: list[Row], failures: dict[str, str]
) -> None:
    found = {
        "schema": 1,
        "date": datetime.date.today().isoformat(),
        "command": command,
        "commit": commit(),
        **facts,
        "limits": limits.to_json(),
        "rows": [asdict(row) for row in rows],
        "failures": failures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _microseconds(milliseconds: float) -> str:
    value = milliseconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
