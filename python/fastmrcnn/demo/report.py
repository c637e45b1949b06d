"""The demo's report: a page to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from fastmrcnn.data import Sample
from fastmrcnn.data.pictures import draw_sample
from fastmrcnn.demo.fine_tuning import FineTuning
from fastmrcnn.demo.photograph import SegmentedPhotograph
from fastmrcnn.demo.scenes import SegmentedScenes
from fastmrcnn.structures import Detections
from fastmrcnn.visualisation.curves import loss_panel
from fastmrcnn.visualisation.report import Cell, Report

SHOWN_SCENES = 8
SHOWN_SCORE = 0.5
ZOOM = 2  # the scenes are small; lines and names stay fine


def write_report(
    path: Path,
    scenes: SegmentedScenes,
    photograph: SegmentedPhotograph,
    tuning: FineTuning,
    metrics: Mapping[str, Any],
    commands: str,
) -> None:
    """Write the page to ``path``: scenes, photograph, fine-tuning, and what to type next."""
    versions = ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())
    report = Report(
        "fastmrcnn demo",
        "What the shipped weights find, and what fine-tuning adds: all computed on this machine just now.",
        footer=f"{versions}; {metrics['device']}; {metrics['seconds']:.0f} seconds",
    )
    report.facts(
        {
            "mask AP": scenes.evaluation.mask_ap,
            "box AP": scenes.evaluation.box_ap,
            "mask AP50": scenes.evaluation.mask_ap50,
            "images per second": round(scenes.images_per_second, 1),
            "coins found": f"{photograph.coins_found} of {photograph.coins}",
        }
    )
    _scenes_section(report, scenes)
    _photograph_section(report, photograph)
    _fine_tuning_section(report, tuning)
    report.section("Next", "Type one of these, with your own images and annotations:")
    report.code(commands)
    report.save(path)


def _scenes_section(report: Report, scenes: SegmentedScenes) -> None:
    report.section(
        "Held-out scenes",
        f"{len(scenes.pairs)} drawn scenes that the weights were not trained on, measured with COCO's metrics. "
        f"Shown are detections with a score of at least {SHOWN_SCORE}.",
    )
    _compare(report, scenes)
    columns = ["class", "box AP", "box AP50", "mask AP", "mask AP50"]
    keys = ["box_ap", "box_ap50", "mask_ap", "mask_ap50"]
    total = scenes.evaluation
    rows: list[list[Cell]] = [[name, *(values[key] for key in keys)] for name, values in total.per_class.items()]
    rows.append(["all", total.box_ap, total.box_ap50, total.mask_ap, total.mask_ap50])
    report.table(columns, rows)


def _photograph_section(report: Report, photograph: SegmentedPhotograph) -> None:
    report.section(
        "A photograph",
        f"Ancient coins, photographed; the weights have seen drawn ones only. {photograph.coins_found} of "
        f"{photograph.coins} coins are found, with {photograph.coins_false} false detections.",
    )
    original = Image.fromarray(photograph.sample.image.permute(1, 2, 0).numpy())
    found = photograph.found.plot(photograph.sample.image, colour_by="instance", zoom=ZOOM)
    report.comparisons(["photograph", "found"], [([original.resize(found.size), found], "")])


def _fine_tuning_section(report: Report, tuning: FineTuning) -> None:
    names = " and ".join(tuning.after.class_names)
    report.section(
        "Fine-tuning",
        f"The weights have never seen a {names.replace(' and ', ' or a ')}. After {tuning.run.steps} steps on a few "
        "scenes they find some of them in scenes held out from that training.",
    )
    report.facts(
        {
            "loss, first steps": mean_of(tuning.losses[:5]),
            "loss, last steps": mean_of(tuning.losses[-5:]),
            "mask AP50 before": tuning.before.mask_ap50,
            "mask AP50 after": tuning.after.evaluation.mask_ap50,
            "training images per second": round(tuning.run.images_per_second, 1),
        }
    )
    report.curves(loss_panel(tuning.run.metrics))
    _compare(report, tuning.after, most=4)


def _compare(report: Report, scenes: SegmentedScenes, *, most: int = SHOWN_SCENES) -> None:
    rows = [
        ([draw_sample(sample, scenes.class_names, zoom=ZOOM), _prediction(sample, found)], sample.path.name)
        for sample, found in scenes.pairs[:most]
    ]
    report.comparisons(["ground truth", "prediction"], rows)


def _prediction(sample: Sample, found: Detections) -> Image.Image:
    return found.filter(score=SHOWN_SCORE).plot(sample.image, zoom=ZOOM)


def mean_of(values: list[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
