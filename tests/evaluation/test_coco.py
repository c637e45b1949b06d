"""The evaluator gives pycocotools' numbers, and sense where there is nothing to measure."""

from __future__ import annotations

import contextlib
import io
import json
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastmrcnn.data import CocoDataset, Sample
from fastmrcnn.data.masks import encode_rle
from fastmrcnn.errors import UserError
from fastmrcnn.evaluation import CocoEvaluator, evaluate
from fastmrcnn.structures import Detections

HEIGHT, WIDTH = 120, 160
NAMES = ("disc", "box", "nothing")


def random_mask(rng: np.random.Generator, near: np.ndarray | None = None) -> np.ndarray:
    """A rectangle with a hole, near another mask's where one is given."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if near is None:
        y, x = rng.integers(0, HEIGHT - 12), rng.integers(0, WIDTH - 12)
        height, width = rng.integers(4, 110, 2)
    else:
        rows, columns = np.nonzero(near)
        y, x = (max(0, v.min() + rng.integers(-4, 5)) for v in (rows, columns))
        height, width = (int(np.ptp(v)) + 1 + rng.integers(-4, 5) for v in (rows, columns))
    mask[y : y + max(height, 2), x : x + max(width, 2)] = True
    mask[y + 2 : y + height // 3, x + 2 : x + width // 3] = False
    return mask


def box_of(mask: np.ndarray) -> list[float]:
    rows, columns = np.nonzero(mask)
    return [float(columns.min()), float(rows.min()), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)]


def random_problem(seed: int, images: int = 8) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth with crowds, and detections from good to stray."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image_id in range(1, images + 1):
        for _ in range(int(rng.integers(0, 7))):
            mask, category = random_mask(rng), int(rng.integers(1, 3))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "iscrowd": int(rng.random() < 0.2),
                    "area": float(mask.sum()),
                    "bbox": box_of(mask),
                    "segmentation": encode_rle(mask),
                }
            )
            for _ in range(int(rng.integers(0, 4))):
                found = random_mask(rng, near=mask if rng.random() < 0.8 else None)
                results.append(
                    {
                        "image_id": image_id,
                        "category_id": category if rng.random() < 0.9 else 3 - category,
                        "bbox": box_of(found),
                        "score": float(rng.random()),
                        "segmentation": encode_rle(found),
                    }
                )
    return make_document(annotations, images), results


def make_document(annotations: list[dict[str, Any]], images: int = 1) -> dict[str, Any]:
    return {
        "images": [
            {"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH}
            for number in range(1, images + 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)],
        "annotations": annotations,
    }


def written(directory: Path, document: dict[str, Any]) -> Path:
    path = directory / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def peer_metrics(document: dict[str, Any], results: list[dict[str, Any]], kind: str) -> tuple[list[float], str]:
    """pycocotools' twelve numbers and its printed table."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dropped = "bbox" if kind == "segm" else "segmentation"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        truth = COCO()
        truth.dataset = json.loads(json.dumps(document))
        truth.createIndex()
        found = truth.loadRes([{k: v for k, v in result.items() if k != dropped} for result in results])
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        printed.truncate(0)
        printed.seek(0)
        evaluation.summarize()
    return evaluation.stats.tolist(), printed.getvalue()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_pycocotools(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools", reason="compares with pycocotools")
    document, results = random_problem(seed)
    evaluator = CocoEvaluator(written(tmp_path, document))
    evaluator.results += results
    result = evaluator.summarize()
    assert capsys.readouterr() == ("", "")
    tables = []
    for found, kind in ((result.box, "bbox"), (result.mask, "segm")):
        expected, table = peer_metrics(document, results, kind)
        tables.append(table)
        found_or_minus_one = [-1 if math.isnan(value) else value for value in found.values()]
        assert found_or_minus_one == pytest.approx(expected, abs=1e-9)
    assert result.table == f"Boxes\n{tables[0]}Masks\n{tables[1]}"
    assert 0.05 < result.mask_ap < 0.95


def test_a_class_has_the_precision_that_it_has_alone(tmp_path: Path) -> None:
    document, results = random_problem(11)
    path = written(tmp_path, document)
    together, alone = CocoEvaluator(path), CocoEvaluator(path, class_names=["box"])
    together.results += results
    alone.results += [result for result in results if result["category_id"] == 2]
    per_class, single = together.summarize().per_class, alone.summarize()
    assert list(per_class) == list(NAMES)
    assert per_class["box"] == single.per_class["box"]
    assert single.box_ap == pytest.approx(per_class["box"]["box_ap"])
    assert single.mask_ap50 == pytest.approx(per_class["box"]["mask_ap50"])
    assert all(math.isnan(value) for value in per_class["nothing"].values())


def perfect_results(document: dict[str, Any]) -> list[dict[str, Any]]:
    keys = ("image_id", "category_id", "bbox", "segmentation")
    return [{key: a[key] for key in keys} | {"score": 0.9} for a in document["annotations"] if not a["iscrowd"]]


def test_perfect_detections_have_precision_one(tmp_path: Path) -> None:
    document, _ = random_problem(2)
    evaluator = CocoEvaluator(written(tmp_path, document))
    evaluator.results += perfect_results(document)
    result = evaluator.summarize()
    assert (result.box_ap, result.box_ap50, result.mask_ap, result.mask_ap50) == pytest.approx((1, 1, 1, 1))


def test_detections_in_a_crowd_are_no_mistakes(tmp_path: Path) -> None:
    crowd, square = np.zeros((2, HEIGHT, WIDTH), bool)
    crowd[:, 80:], square[10:40, 10:40] = True, True
    inside = np.zeros_like(crowd)
    inside[50:60, 100:110] = True
    record = {"image_id": 1, "category_id": 1}
    annotations = [
        record | {"id": n, "iscrowd": n, "segmentation": encode_rle(mask)} for n, mask in enumerate((square, crowd))
    ]
    found = [
        record | {"bbox": box_of(mask), "segmentation": encode_rle(mask), "score": score}
        for mask, score in ((inside, 0.9), (square, 0.5))
    ]
    evaluator = CocoEvaluator(written(tmp_path, make_document(annotations)))
    evaluator.results += found
    assert evaluator.summarize().mask_ap == pytest.approx(1)
    # The same detection outside of the crowd halves the precision.
    evaluator.results[0]["segmentation"] = encode_rle(np.roll(inside, -60, axis=1))
    assert evaluator.summarize().mask_ap == pytest.approx(0.5)


def test_no_detections_are_a_precision_of_zero(tmp_path: Path) -> None:
    document, _ = random_problem(2)
    result = CocoEvaluator(written(tmp_path, document)).summarize()
    assert (result.box_ap, result.mask_ap) == (0, 0)
    assert result.per_class["disc"]["mask_ap"] == 0
    assert "= 0.000" in result.table


def test_no_ground_truth_is_not_a_number(tmp_path: Path) -> None:
    document, results = random_problem(2)
    evaluator = CocoEvaluator(written(tmp_path, document | {"annotations": []}))
    for _ in range(2):
        result = evaluator.summarize()
        assert all(math.isnan(value) for value in [*result.box.values(), *result.mask.values()])
        assert result.table.count("= -1.000") == 24
        evaluator.results += results


def detections(names: tuple[str, ...], labels: list[int], side: int = 40) -> Detections:
    """One full square for each label, side by side."""
    boxes = torch.tensor([[40.0 * n, 10, 40 * n + side, 10 + side] for n in range(len(labels))]).reshape(-1, 4)
    return Detections(
        boxes=boxes,
        scores=torch.full((len(labels),), 0.9),
        labels=torch.tensor(labels, dtype=torch.int64),
        mask_probs=torch.ones((len(labels), 28, 28)),
        image_size=(HEIGHT, WIDTH),
        class_names=names,
        category_ids=tuple(range(10, 10 + len(names))),
    )


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Two discs and a box on image 1; on image 2, which is empty, nothing. The images are black."""
    annotations = []
    for n, category in enumerate((1, 1, 2)):
        polygon = [40 * n, 10, 40 * n + 40, 10, 40 * n + 40, 50, 40 * n, 50]
        annotations.append({"id": n, "image_id": 1, "category_id": category, "segmentation": [polygon]})
    for number in (1, 2):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{number}.png")
    return written(tmp_path, make_document(annotations, images=2))


def test_classes_are_matched_by_name(squares: Path) -> None:
    evaluator = CocoEvaluator(squares)
    evaluator.update(1, detections(("box", "unicorn", "disc"), [2, 2, 0, 1]))
    evaluator.update(2, detections(("box", "unicorn", "disc"), []))
    assert [result["category_id"] for result in evaluator.results] == [1, 1, 2]
    result = evaluator.summarize()
    assert result.box_ap == pytest.approx(1)
    assert result.mask_ap == pytest.approx(1, abs=0.11)  # the pasted square's border


def test_detections_without_masks_are_measured_as_boxes(squares: Path) -> None:
    evaluator = CocoEvaluator(squares)
    evaluator.update(1, replace(detections(("disc", "box"), [0, 0, 1]), mask_probs=None))
    result = evaluator.summarize()
    assert result.box_ap == pytest.approx(1)
    assert math.isnan(result.mask_ap)
    assert "not measured: the model gives no masks" in result.table


def test_an_empty_box_in_the_file_is_measured_on_the_mask(squares: Path) -> None:
    """As the reader does: the model was trained on that box."""
    document = json.loads(squares.read_text())
    for annotation in document["annotations"]:
        annotation["bbox"] = [0, 0, 0, 0]
    squares.write_text(json.dumps(document))
    evaluator = CocoEvaluator(squares)
    evaluator.update(1, detections(("disc", "box"), [0, 0, 1]))
    assert evaluator.summarize().box_ap == pytest.approx(1)


def test_updates_that_do_not_fit(squares: Path) -> None:
    evaluator = CocoEvaluator(squares)
    with pytest.raises(ValueError, match=r"^CocoEvaluator.update: image 9 is not in the annotation file$"):
        evaluator.update(9, detections(("disc",), [0]))
    other_size = replace(detections(("disc",), [0]), image_size=(5, 5))
    with pytest.raises(ValueError, match=r"^CocoEvaluator.update: image 1 must be \(120, 160\); got \(5, 5\)$"):
        evaluator.update(1, other_size)
    evaluator.update(1, detections(("disc",), [0]))
    with pytest.raises(ValueError, match=r"^CocoEvaluator.update: image 1 was given before$"):
        evaluator.update(1, detections(("disc",), [0]))
    with pytest.raises(UserError) as caught:
        evaluator.update(2, detections(("cat", "dog"), [0]))
    assert str(caught.value) == (
        f"{squares}: expected a category that the model knows (cat, dog); got disc, box, nothing"
    )
    with pytest.raises(UserError, match="no category is named 'cat'; its categories are disc, box, nothing"):
        CocoEvaluator(squares, class_names=["cat"])


class SquaresModel:
    """Answers the first image with the squares, the second with nothing."""

    def __init__(self) -> None:
        self.answers = [detections(("disc", "box"), [0, 0, 1]), detections(("disc", "box"), [])]

    def predict(self, images: list[torch.Tensor], *, batch_size: int) -> list[Detections]:
        assert len(images) <= batch_size
        assert all(image.dtype == torch.uint8 for image in images)
        return [self.answers.pop(0) for _ in images]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluate_goes_through_the_data_set(squares: Path, batch_size: int, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = CocoDataset(squares, squares.parent)
    result = evaluate(SquaresModel(), dataset, batch_size=batch_size)
    assert result.box_ap == pytest.approx(1)
    assert result.per_class["disc"]["box_ap50"] == pytest.approx(1)
    assert capsys.readouterr() == ("", "")
    assert evaluate(SquaresModel(), dataset, batch_size=batch_size, readers=0) == result
    evaluate(SquaresModel(), dataset, progress=True)
    assert "evaluate" in capsys.readouterr().err


def test_images_are_read_beside_the_network(squares: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    read = CocoDataset.__getitem__

    def noted(dataset: CocoDataset, index: int) -> Sample:
        threads.append(threading.current_thread().name)
        return read(dataset, index)

    monkeypatch.setattr(CocoDataset, "__getitem__", noted)
    dataset = CocoDataset(squares, squares.parent)
    evaluate(SquaresModel(), dataset, readers=2)
    assert len(threads) == len(dataset)
    assert all(name.startswith("read_image") for name in threads)
    image = dataset.image_path(1)
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(UserError, match=f"{image.name}: expected an image file; it does not decode"):
        evaluate(SquaresModel(), dataset, readers=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read_image")]
