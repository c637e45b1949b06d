"""Trains every variant with every seed, measures it, and writes what was found as it comes.

A run that the results file holds is not repeated, so the command goes on where it was stopped, and several of them may
share the runs (give each its own --seeds or --only). Each run takes one CPU thread for about two minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.study.data import prepare_scenes
from benchmarks.study.fitting import THREADS, Start, fit
from benchmarks.study.pretraining import pretrained_backbone
from benchmarks.study.record import add_run, check_setting, make_run, read_study
from benchmarks.study.report import rewrite, run_line, summary
from benchmarks.study.setting import QUICK, STANDARD, Setting
from benchmarks.study.variants import VARIANTS

HERE = Path(__file__).parent.parent
RESULTS, DOCUMENT = HERE / "results" / "study.json", HERE / "STUDY.md"
SEEDS = tuple(range(8))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = parse(arguments)
    setting = QUICK if options.quick else STANDARD
    if options.steps:
        setting = replace(setting, steps=options.steps)
    if not options.report:
        run_all(options, setting)
    study = read_study(options.json)
    if study is None:
        raise SystemExit(f"{options.json}: expected the results of a study; there is no such file")
    print(summary(study))
    document = options.document or (DOCUMENT if options.json == RESULTS else None)
    if document:
        rewrite(document, study)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--steps", type=int, help="of each run; another number needs another --json and --folder")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two steps: does the program work?")
    parser.add_argument("--folder", type=Path, default=Path("build/study"), help="for scenes, weights and logs")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the results file")
    parser.add_argument("--document", type=Path, help="takes tables and figures; STUDY.md for the standard --json")
    parser.add_argument("--report", action="store_true", help="train nothing, show what the results file holds")
    return parser.parse_args(arguments)


def run_all(options: argparse.Namespace, setting: Setting) -> None:
    """The runs that the results file does not hold yet, seed by seed."""
    if "torchvision" in options.only and find_spec("torchvision") is None:
        raise SystemExit("the variant torchvision needs torchvision; --only names the others")
    study = read_study(options.json)
    if study is not None:
        check_setting(options.json, study, setting)
    with process_state_kept():
        torch.set_num_threads(THREADS)
        scenes = prepare_scenes(options.folder, setting)
        backbone, facts = pretrained_backbone(options.folder, scenes.crops, setting)
        for seed in options.seeds:
            for variant in options.only:
                study = read_study(options.json)
                if study is None or seed not in study.of(variant):
                    fitted = fit(variant, Start(setting, scenes, backbone, options.folder, seed))
                    run = make_run(variant, seed, fitted)
                    add_run(options.json, options.folder / "results.lock", setting, facts, run)
                    print(run_line(run), flush=True)


@contextmanager
def process_state_kept() -> Iterator[None]:
    """The runs seed torch's generator and set its threads; the caller finds both as they were."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
