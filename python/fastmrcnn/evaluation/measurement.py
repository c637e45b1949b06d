"""What faster-coco-eval makes of ground truth and results: metrics, figures by class, and COCO's table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from fastmrcnn.data.masks import measure_rle
from fastmrcnn.evaluation.result import KEYPOINT_METRICS, METRICS

Kind = Literal["bbox", "segm", "keypoints"]


@dataclass(frozen=True)
class Measurement:
    """Boxes, masks or keypoints: the metrics, AP and AP50 by class name, and COCO's table."""

    metrics: dict[str, float]
    class_ap: dict[str, float]
    class_ap50: dict[str, float]
    table: str


def measure(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], kind: Kind, sigmas: Sequence[float] | None = None
) -> Measurement:
    """Measure ``results`` against ``truth``, a COCO document; keypoints with their ``sigmas``."""
    # The library adds keys to the dicts that it is given. Its own loadRes refuses an empty list before version 1.8.
    document = {key: [dict(entry) for entry in entries] for key, entries in truth.items()}
    found = document | {"annotations": _as_annotations(results, kind)}
    options = {} if sigmas is None else {"kpt_oks_sigmas": list(sigmas)}
    evaluation = COCOeval_faster(COCO(document), COCO(found), iouType=kind, **options)
    lines: list[str] = []
    evaluation.print_function = lines.append
    evaluation.evaluate()
    evaluation.accumulate()
    lines.clear()  # of progress
    evaluation.summarize()
    names = _names_of(kind)
    metrics = {name: _or_nan(value) for name, value in zip(names, evaluation.stats[: len(names)], strict=True)}
    # [thresholds, recalls, classes, areas, detections]: all areas, as many detections as count
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    names_of = {category["id"]: category["name"] for category in truth["categories"]}
    measured = [names_of[number] for number in evaluation.params.catIds]  # not those without keypoints
    by_class = {name: np.full(precision.shape[:2], -1.0) for name in names_of.values()}
    by_class |= dict(zip(measured, np.moveaxis(precision, 2, 0), strict=True))
    return Measurement(
        metrics,
        {name: _mean_of_defined(values) for name, values in by_class.items()},
        {name: _mean_of_defined(values[0]) for name, values in by_class.items()},
        "".join(f"{line}\n" for line in lines[: len(names)]),
    )


def nothing_measured(kind: Kind, class_names: Sequence[str], why: str) -> Measurement:
    """NaN everywhere; the table says why."""
    nothing = dict.fromkeys(class_names, math.nan)
    return Measurement(dict.fromkeys(_names_of(kind), math.nan), nothing, nothing, f" not measured: {why}\n")


def _names_of(kind: Kind) -> tuple[str, ...]:
    return KEYPOINT_METRICS if kind == "keypoints" else METRICS


def _as_annotations(results: Sequence[dict[str, Any]], kind: Kind) -> list[dict[str, Any]]:
    """Results with what the library asks of annotations; the area decides between small, medium and large."""
    annotations = []
    for number, result in enumerate(results, 1):
        annotation = {key: result[key] for key in ("image_id", "category_id", "score")}
        annotations.append(annotation | _shape_of(result, kind) | {"id": number, "iscrowd": 0})
    return annotations


def _shape_of(result: dict[str, Any], kind: Kind) -> dict[str, Any]:
    if kind == "bbox":
        return {"bbox": result["bbox"], "area": result["bbox"][2] * result["bbox"][3]}
    if kind == "segm":
        bbox, area = measure_rle(result["segmentation"])
        return {"segmentation": result["segmentation"], "bbox": bbox, "area": area}
    x, y = result["keypoints"][0::3], result["keypoints"][1::3]  # whose extent stands for the object's, as at COCO
    left, top, width, height = min(x), min(y), max(x) - min(x), max(y) - min(y)
    return {"keypoints": result["keypoints"], "bbox": [left, top, width, height], "area": width * height}


def _mean_of_defined(precision: np.ndarray) -> float:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else math.nan


def _or_nan(value: float) -> float:
    """The library's -1 stands for "nothing to measure"."""
    return float(value) if value > -1 else math.nan
