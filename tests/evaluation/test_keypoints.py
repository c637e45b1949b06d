"""Keypoint AP: pycocotools' numbers for bodies, and sense for other keypoints."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.evaluation import CocoEvaluator, EvaluationResult
from fastmrcnn.evaluation.keypoints import sigmas_of
from fastmrcnn.models.config import COCO_KEYPOINTS
from fastmrcnn.structures import Detections

HEIGHT, WIDTH = 200, 300
TIPS = ("left_tip", "right_tip")


def write_document(folder: Path, annotations: list[dict[str, Any]], keypoints: tuple[str, ...], images: int) -> Path:
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in range(1, images + 1)],
        "categories": [
            {"id": 1, "name": "person"} | ({"keypoints": list(keypoints)} if keypoints else {}),
            {"id": 2, "name": "chair"},
        ],
        "annotations": [{"id": number, "iscrowd": 0} | item for number, item in enumerate(annotations, 1)],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def annotated(image_id: int, box: list[float], keypoints: Any, category_id: int = 1) -> dict[str, Any]:
    x, y, width, height = box
    outline = [x, y, x + width, y, x + width, y + height, x, y + height]
    item = {"image_id": image_id, "category_id": category_id, "bbox": box, "area": 0.6 * width * height}
    counted = [] if keypoints is None else np.asarray(keypoints).reshape(-1, 3)[:, 2] > 0
    extra = {} if keypoints is None else {"keypoints": keypoints, "num_keypoints": int(np.sum(counted))}
    return item | {"segmentation": [outline]} | extra


def random_bodies(seed: int, images: int = 12) -> tuple[list[dict[str, Any]], list[Detections]]:
    """People with labelled, unlabelled and no joints, and detections from good to stray."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    found = []
    for image_id in range(1, images + 1):
        boxes, points = [], []
        for _ in range(int(rng.integers(0, 5))):
            width, height = rng.uniform(40, 140, 2)
            x, y = rng.uniform(0, WIDTH - width), rng.uniform(0, HEIGHT - height)
            joints = np.stack([rng.uniform(x, x + width, 17), rng.uniform(y, y + height, 17)], axis=1).round()
            visibility = rng.integers(0, 3, 17) * (rng.random() < 0.8)
            flat = np.concatenate([joints * (visibility > 0)[:, None], visibility[:, None]], axis=1).flatten().tolist()
            annotations.append(annotated(image_id, [x, y, width, height], flat))
            for _ in range(int(rng.integers(0, 3))):
                spread = 0.1 * math.sqrt(width * height) * rng.random()
                boxes.append([x, y, x + width, y + height])
                points.append(joints + rng.normal(0, spread, (17, 2)))
        found.append(detections(boxes, np.asarray(points).reshape(-1, 17, 2), COCO_KEYPOINTS, rng.random(len(boxes))))
    return annotations, found


def detections(boxes: list[list[float]], points: np.ndarray, names: tuple[str, ...], scores: Any) -> Detections:
    count = len(boxes)
    keypoints = np.concatenate([points, np.ones((count, len(names), 1))], axis=2)
    return Detections(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(np.asarray(scores), dtype=torch.float32),
        labels=torch.zeros(count, dtype=torch.int64),
        mask_probs=None,
        image_size=(HEIGHT, WIDTH),
        class_names=("person", "chair"),
        category_ids=(1, 2),
        keypoints=torch.tensor(keypoints, dtype=torch.float32),
        keypoint_names=names,
    )


def result_of(path: Path, found: list[Detections], **options: Any) -> EvaluationResult:
    evaluator = CocoEvaluator(path, **options)
    for image_id, detected in enumerate(found, 1):
        evaluator.update(image_id, detected)
    return evaluator.summarize()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(3))
def test_bodies_have_pycocotools_numbers(seed: int, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="compares with pycocotools")
    from pycocotools.cocoeval import COCOeval

    annotations, found = random_bodies(seed)
    path = write_document(tmp_path, annotations, COCO_KEYPOINTS, len(found))
    result = result_of(path, found)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        truth = coco.COCO(str(path))
        results = [entry for image_id, detected in enumerate(found, 1) for entry in detected.to_coco(image_id)]
        for entry in results:
            del entry["bbox"]  # COCO's results of keypoints have none; with one, its area would be taken
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        printed.seek(0)
        printed.truncate(0)
        evaluation.summarize()
    mine = [-1 if math.isnan(value) else value for value in result.keypoint.values()]
    assert mine == pytest.approx(evaluation.stats.tolist(), abs=1e-9)
    assert result.table.endswith(f"Keypoints\n{printed.getvalue()}")
    assert 0.05 < result.keypoint_ap < 0.95
    assert result.per_class["person"]["keypoint_ap"] == pytest.approx(result.keypoint_ap)
    assert math.isnan(result.per_class["chair"]["keypoint_ap"])


def off_by(distance: float, folder: Path, **options: Any) -> EvaluationResult:
    """Two tips that are listed in the other order by the annotations, found ``distance`` pixels off."""
    right, left = [110.0, 50.0], [20.0, 50.0]
    path = write_document(folder, [annotated(1, [10, 10, 100, 100], [*right, 2, *left, 2])], TIPS[::-1], 1)
    points = np.asarray([[left, right]]) + np.asarray([0.0, distance])
    return result_of(path, [detections([[10, 10, 110, 110]], points, TIPS, [0.9])], **options)


def test_keypoints_are_matched_by_name_and_judged_by_their_sigmas(tmp_path: Path) -> None:
    assert off_by(0, tmp_path).keypoint_ap == pytest.approx(1)
    scale = math.sqrt(0.6 * 100 * 100)  # of the object: the square root of its area
    similarity = math.exp(-0.5)  # 0.61: passes at 0.50, 0.55 and 0.60
    distance = 2 * 0.07 * scale
    assert similarity == pytest.approx(math.exp(-(distance**2) / (2 * (2 * 0.07 * scale) ** 2)))
    assert off_by(distance, tmp_path).keypoint_ap == pytest.approx(0.3)
    assert off_by(distance, tmp_path, keypoint_sigmas=(0.7, 0.7)).keypoint_ap == pytest.approx(1)
    assert off_by(distance, tmp_path, keypoint_sigmas=(0.01, 0.01)).keypoint_ap == 0


def test_annotations_without_keypoints_are_no_reason_not_to_measure_boxes(tmp_path: Path) -> None:
    path = write_document(tmp_path, [annotated(1, [10, 10, 100, 100], None)], (), 1)
    result = result_of(path, [detections([[10, 10, 110, 110]], np.zeros((1, 2, 2)), TIPS, [0.9])])
    assert result.box_ap == pytest.approx(1)
    assert math.isnan(result.keypoint_ap)
    assert result.table.endswith("Keypoints\n not measured: the annotations list no keypoints\n")
    assert set(result.averages) == {"box_ap", "mask_ap", "mask_ap50", "keypoint_ap"}


def test_a_model_without_keypoints_has_no_columns_for_them(tmp_path: Path) -> None:
    path = write_document(tmp_path, [annotated(1, [10, 10, 100, 100], None)], TIPS, 1)
    result = CocoEvaluator(path).summarize()
    assert result.keypoint == {}
    assert "Keypoints" not in result.table
    assert "keypoint_ap" not in result.averages
    assert set(result.per_class["person"]) == {"box_ap", "box_ap50", "mask_ap", "mask_ap50"}


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"keypoint_sigmas must be 2 numbers above 0, for left_tip, right_tip; got"):
        off_by(0, tmp_path, keypoint_sigmas=(0.1,))
    path = write_document(tmp_path, [annotated(1, [10, 10, 100, 100], None)], ("nose",), 1)
    with pytest.raises(UserError, match="category 'person': expected the keypoint 'left_tip'; its keypoints are nose"):
        result_of(path, [detections([], np.zeros((0, 2, 2)), TIPS, [])])


def test_sigmas_of_a_body_are_found_by_name() -> None:
    from faster_coco_eval.core.cocoeval import Params

    assert sigmas_of(COCO_KEYPOINTS) == pytest.approx(Params(iouType="keypoints").kpt_oks_sigmas.tolist())
    assert sigmas_of(["left_hip", "tail"]) == [0.107, 0.07]
