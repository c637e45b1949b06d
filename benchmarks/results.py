"""The rows of a run and the circumstances they were measured in, and their JSON file."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torchvision

from benchmarks.case import Case, Work
from benchmarks.limits import Limits
from benchmarks.timing import Timing
from fastmrcnn.environment import environment

SCHEMA = 1  # of the file; raise it when a field changes its meaning
ISA_FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_bf16", "avx512_fp16", "amx_bf16")


@dataclass(frozen=True)
class Row:
    """One line of the table. Times are minima over the rounds, in milliseconds, unless said otherwise."""

    family: str
    op: str
    dtype: str
    layout: str
    threads: int
    peer: str
    peer_ms: float
    ours_ms: float
    ratio: float  # peer_ms / ours_ms
    peer_median_ms: float
    ours_median_ms: float
    peer_spread: float  # interquartile range / median
    ours_spread: float
    rounds: int
    agreement: str  # how equal the results are, found before anything was timed
    limit_ms: float | None  # below which the machine cannot do it
    bound: str | None  # by what: memory, cache or compute
    limit_fraction: float | None  # limit_ms / ours_ms
    ours_operators_share: float | None  # of whole models: share of the time in the detection operators
    peer_operators_share: float | None
    goal: str
    goal_met: bool | None  # None without a goal
    in_readme: bool


@dataclass(frozen=True)
class Results:
    date: str  # ISO
    command: str
    commit: str
    versions: dict[str, str]
    machine: dict[str, Any]
    limits: list[dict[str, Any]]  # one for each number of threads
    rows: list[Row]
    schema: int = SCHEMA


@dataclass(frozen=True)
class Measurement:
    """What was found about a case at one number of threads; a row once the machine's limits are known."""

    family: str
    case: Case
    peer_name: str
    work: Work | None
    threads: int
    agreement: str
    peer: Timing
    ours: Timing
    shares: tuple[float, float] | None  # of the detection operators, (of the peer, of ours)


def make_row(measured: Measurement, limits: Limits) -> Row:
    case, peer, ours = measured.case, measured.peer, measured.ours
    ratio = peer.min_ms / ours.min_ms
    limit_ms, bound = limits.milliseconds(measured.work) if measured.work else (None, None)
    fraction = limit_ms / ours.min_ms if limit_ms is not None else None
    peer_share, ours_share = measured.shares or (None, None)
    return Row(
        family=measured.family,
        op=case.op,
        dtype=case.dtype,
        layout=case.layout,
        threads=measured.threads,
        peer=measured.peer_name,
        peer_ms=_significant(peer.min_ms),
        ours_ms=_significant(ours.min_ms),
        ratio=_significant(ratio),
        peer_median_ms=_significant(peer.median_ms),
        ours_median_ms=_significant(ours.median_ms),
        peer_spread=round(peer.spread, 3),
        ours_spread=round(ours.spread, 3),
        rounds=ours.rounds,
        agreement=measured.agreement,
        limit_ms=_significant(limit_ms),
        bound=bound,
        limit_fraction=_significant(fraction),
        ours_operators_share=_significant(ours_share),
        peer_operators_share=_significant(peer_share),
        goal=str(case.goal),
        goal_met=case.goal.is_met(ratio, ours.min_ms, fraction, ours_share),
        in_readme=case.in_readme,
    )


def make_results(command: str, limits: Sequence[Limits], rows: list[Row]) -> Results:
    facts = environment()
    kept = ("fastmrcnn", "python", "torch", "numpy", "instruction set")
    return Results(
        date=datetime.date.today().isoformat(),
        command=command,
        commit=commit(),
        versions={**{name: facts[name] for name in kept}, "torchvision": torchvision.__version__},
        machine=machine(),
        limits=[limit.to_json() for limit in limits],
        rows=rows,
    )


def write_results(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")


def read_results(paths: Sequence[Path]) -> Results:
    """One file, or several of the same commit, versions and machine, such as those of runs with `--only`.

    Of a case that several hold, the last one's rows count.
    """
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    rows: dict[tuple[str, str, str, int], Row] = {}
    for path, part in zip(paths, parts, strict=True):
        if part["schema"] != SCHEMA:
            raise SystemExit(f"{path}: expected schema {SCHEMA}; got {part['schema']}")
        for name in ("commit", "versions", "machine"):
            if part[name] != parts[0][name]:
                raise SystemExit(f"{path}: expected the {name} of {paths[0]}, {parts[0][name]}; got {part[name]}")
        for values in part["rows"]:
            row = Row(**values)
            key = (row.op, row.dtype, row.layout, row.threads)
            rows.pop(key, None)  # so that it stands where the later file has it
            rows[key] = row
    commands = "; ".join(dict.fromkeys(part["command"] for part in parts))  # in the order of the files
    return Results(**{**parts[-1], "command": commands, "rows": list(rows.values())})


def _significant(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def commit() -> str:
    """The checkout's commit, marked when files that git knows were changed; outside a checkout what COMMIT says."""
    root = Path(__file__).parent.parent
    try:
        commit = _git(root, "rev-parse", "--short", "HEAD")
        # What a run itself writes does not count.
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!*.md", ":!*.json")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("COMMIT", "unknown")
    return f"{commit} with changes" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def machine() -> dict[str, Any]:
    """What matters for the figures and names nobody's machine."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    facts = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    flags = facts.get("flags", "").split()
    return {
        "cpu": facts.get("model name", "unknown"),
        "cores": os.cpu_count(),
        "flags": [flag for flag in ISA_FLAGS if flag in flags],
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", ""),
    }
