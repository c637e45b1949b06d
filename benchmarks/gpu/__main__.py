"""Compares every case with its peer on the GPU, times both, prints the table as it grows, and writes JSON."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.cases import OPERATORS
from benchmarks.gpu import models
from benchmarks.gpu.goals import goal_of
from benchmarks.gpu.limits import DeviceLimits, measure_limits
from benchmarks.gpu.results import HEADER, Row, device_facts, make_row, write
from benchmarks.gpu.timing import compare
from benchmarks.workloads import QUICK, STANDARD, Workload

# Two images: what the goals of the operators over a pyramid are set for.
WORKLOAD = dataclasses.replace(STANDARD, device="cuda", images=2)
TINY = dataclasses.replace(QUICK, device="cuda", images=2)
FAMILIES = {**OPERATORS, **models.FAMILIES}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when a case fails or its results differ from the peer's."""
    options = _parse(arguments)
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.gpu: expected a CUDA device; torch sees none")
    limits = measure_limits()
    print(f"{torch.cuda.get_device_name()}: {limits.to_json()}\n\n{HEADER}")
    rows: list[Row] = []
    failures: dict[str, str] = {}
    command = shlex.join(["python", "-m", "benchmarks.gpu", *(sys.argv[1:] if arguments is None else arguments)])
    for family in FAMILIES:
        if options.only in family:
            _run_family(family, TINY if options.quick else WORKLOAD, options.rounds, limits, rows, failures)
            if options.json:  # as it grows: the run may be cut off
                write(options.json, command, device_facts(), limits, rows, failures)
    met = [row.goal_met for row in rows if row.goal_met is not None]
    print(f"\nOf {len(met)} rows with a goal, {sum(met)} meet it.")
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--only", default="", help="run the families whose name contains this")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does the program work?")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    return parser.parse_args(arguments)


def _run_family(
    family: str, workload: Workload, rounds: int, limits: DeviceLimits, rows: list[Row], failures: dict[str, str]
) -> None:
    """One failure must not lose the measurements of all others: a GPU is rare."""
    for case in FAMILIES[family](workload):
        try:
            contest = case.prepare()
            agreement = contest.check(contest.ours(), contest.peer())
            peer, ours = compare((contest.peer, contest.ours), rounds)
            goal = goal_of(case)
            rows.append(make_row(family, case, goal, contest.peer_name, contest.work, limits, (peer, ours), agreement))
            print(rows[-1].line(), flush=True)
        except Exception as error:
            failures[case.name] = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            print(f"{case.name}: {failures[case.name]}", file=sys.stderr, flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
