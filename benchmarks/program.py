"""Measures the machine's limits, then every case at every number of threads; prints the table as it grows."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.case import Case, Goal
from benchmarks.cases import DATA, MODELS, OPERATORS
from benchmarks.limits import PROBE_SECONDS, Limits, measure_limits
from benchmarks.results import Measurement, Results, make_results, make_row, read_results, write_results
from benchmarks.table import FULL_HEADER, full_line, rewrite, summary
from benchmarks.timing import interleave
from benchmarks.workloads import QUICK, STANDARD

THREADS = [1, 2]
SECONDS = 1.5


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when a case's results differ from the peer's."""
    options = parse(arguments)
    if options.from_json:
        results, failures = read_results(options.from_json), []
        print(FULL_HEADER, *(full_line(row) for row in results.rows), "", summary(results.rows), sep="\n")
    else:
        results, failures = run(options)
    if options.json:
        write_results(results, options.json)
    for document in options.readme:
        rewrite(document, results)
    return 1 if failures else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS)
    parser.add_argument("--only", default="", help="run the cases whose family or name contains this")
    parser.add_argument("--models", action="store_true", help="whole models, too: minutes more")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for the rounds of a row; three at least")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few rounds: does the program work?")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--from-json", type=Path, nargs="+", help="measure nothing, take the results of these files")
    parser.add_argument(
        "--readme", type=Path, nargs="+", default=[], help="put the tables between the markers of these documents"
    )
    return parser.parse_args(arguments)


def command_of(options: argparse.Namespace) -> str:
    """The command that measures the same again, without the files it writes."""
    words = ["python", "-m", "benchmarks"]
    words += ["--models"] if options.models else []
    words += ["--quick"] if options.quick else []
    words += ["--only", options.only] if options.only else []
    words += ["--seconds", f"{options.seconds:g}"] if options.seconds != SECONDS else []
    words += ["--threads", *map(str, options.threads)] if options.threads != THREADS else []
    return shlex.join(words)


def run(options: argparse.Namespace) -> tuple[Results, list[str]]:
    """The results, and the names of the cases that failed the comparison with the peer."""
    measurements: list[Measurement] = []
    limits: dict[int, Limits] = {}
    failures: list[str] = []
    probed = None
    print(FULL_HEADER)
    for family, case in select_cases(options):
        if family != probed:
            probe_again(limits, options)
            probed = family
        try:
            for measured in measure(family, case, options.threads, 0.0 if options.quick else options.seconds):
                measurements.append(measured)
                print(full_line(make_row(measured, limits[measured.threads])), flush=True)
        except AssertionError as difference:
            failures.append(case.name)
            first_lines = " ".join(str(difference).split())[:300]
            print(f"{case.name}: not timed, results differ: {first_lines}", file=sys.stderr, flush=True)
    rows = [make_row(measured, limits[measured.threads]) for measured in measurements]
    print("", summary(rows), sep="\n")
    if failures:
        print(f"results differ from the peer's: {'; '.join(failures)}", file=sys.stderr)
    return make_results(command_of(options), list(limits.values()), rows), failures


def probe_again(limits: dict[int, Limits], options: argparse.Namespace) -> None:
    """Raise the limits of each number of threads to what the machine does now."""
    for threads in options.threads:
        found = measure_limits(threads, seconds=0.0 if options.quick else PROBE_SECONDS)
        limits[threads] = found.best_of(limits[threads]) if threads in limits else found


def select_cases(options: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    """The families and cases that the options ask for; SystemExit when there is none."""
    workload = QUICK if options.quick else STANDARD
    families = {**OPERATORS, **DATA, **(MODELS if options.models else {})}
    chosen = [
        (family, case)
        for family, cases in families.items()
        for case in cases(workload)
        if options.only in family or options.only in case.name
    ]
    if not chosen:
        raise SystemExit(f"--only {options.only}: expected part of a family ({', '.join(families)}) or of a case")
    for family, case in chosen:
        # The goals are set for the standard sizes.
        yield family, dataclasses.replace(case, goal=Goal()) if options.quick else case


def measure(family: str, case: Case, threads: Sequence[int], seconds: float) -> Iterator[Measurement]:
    """Compare the results, then time both at each number of threads."""
    contest = case.prepare()
    agreement = contest.check(contest.ours(), contest.peer())
    before = torch.get_num_threads()
    try:
        for count in threads:
            torch.set_num_threads(count)
            peer, ours = interleave((contest.peer, contest.ours), seconds, least_rounds=case.least_rounds)
            shares = contest.operators_share() if contest.operators_share else None
            yield Measurement(family, case, contest.peer_name, contest.work, count, agreement, peer, ours, shares)
    finally:
        torch.set_num_threads(before)
