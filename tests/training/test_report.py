"""report.html of a run: at the end, on the way, and when the run ends badly."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fastmrcnn.data import CocoDataset
from fastmrcnn.errors import UserError
from fastmrcnn.evaluation import EvaluationResult
from fastmrcnn.models import MaskRCNN, tiny
from fastmrcnn.training import TrainConfig, train
from fastmrcnn.training.watch.history import MOST_ROWS, RowHistory
from fastmrcnn.training.watch.page import RunPage, save_evaluation
from fastmrcnn.training.watch.showcase import PICTURE_SIDE, Showcase, shown_positions
from fastmrcnn.training.watch.sink import Evaluated

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def pages() -> None:
    """Here they are drawn."""


def report_of(output: Path) -> str:
    return (output / "report.html").read_text()


def section(report: str, title: str) -> str:
    """From a heading to the next one."""
    return report.partition(f"<h2>{title}</h2>")[2].partition("<h2>")[0]


def test_of_a_finished_run(make_config: MakeConfig, scenes: Path) -> None:
    config = make_config(eval_annotations=scenes / "annotations.json", evaluate_every=1, shown_images=2, steps=2)
    result = train(config, progress=False)
    report = report_of(result.output)
    assert "Finished, step 2 of 2." in report
    assert "--resume" not in report
    for panel in ("Losses", "Average precision", "Learning rate"):
        assert panel in section(report, "Curves")
    table = section(report, "Average precision")
    assert re.findall(r'scope="row">(\w+)<', table) == ["ball", "star", "box", "mask"]
    assert result.evaluation is not None
    assert f'">{result.evaluation.per_class["ball"]["box_ap"]:.3f}<' in table
    pictures = section(report, "Predictions over time")
    assert re.findall(r'alt="([^"]+)"', pictures) == [
        f"train_{number:06}.jpg: {title}" for number in (0, 2) for title in ("annotated", "step 1", "step 2")
    ]
    assert pictures.count('src="data:image/') == 6
    stored = sorted((result.output / "evaluations" / "step-00000001").glob("*.jpg"))
    assert len(stored) == 2 * 2
    for path in stored:
        with Image.open(path) as picture:
            assert max(picture.size) <= PICTURE_SIDE
        assert path.stat().st_size < 120_000
    assert re.search(r"<code>batch_size</code></th><td>2</td><td>4</td>", section(report, "Configuration"))
    assert "from step 0" in section(report, "Machine")
    assert not re.search(r'(?:src|href)="(?!data:|#)', report)  # nothing is loaded from elsewhere


def test_evaluations_of_a_run_that_went_back_are_left_out(make_config: MakeConfig, scenes: Path) -> None:
    config = make_config(eval_annotations=scenes / "annotations.json", evaluate_every=1, checkpoint_every=1, steps=1)
    output = train(config, progress=False).output
    stray = output / "evaluations" / "step-00000007"  # of steps after the checkpoint that is resumed
    stray.mkdir()
    document = json.loads((output / "evaluations" / "step-00000001" / "result.json").read_text())
    (stray / "result.json").write_text(json.dumps(document | {"step": 7}))
    train(make_config(eval_annotations=scenes / "annotations.json", steps=2), resume=True, progress=False)
    report = report_of(output)
    assert [path.name for path in (output / "evaluations" / "step-00000002").iterdir()] == ["result.json"]
    assert "Predictions over time" not in report  # none are asked for
    assert "step 7" not in report
    assert "COCO&#x27;s metrics after step 2" in report
    assert "from step 0" in section(report, "Machine")
    assert "from step 1" in section(report, "Machine")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda document: [], "step, images, per_class, box, mask, keypoint are not all there"),
        (lambda document: document | {"images": None}, "are not all there"),
        (lambda document: document | {"per_class": {"ball": {}, "star": [1]}}, "its classes have not the same numbers"),
    ],
)
def test_a_damaged_evaluation_is_left_out(
    damage: Callable[[Any], Any], said: str, make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(make_config().to_dict()))
    page = RunPage(tmp_path, [], first_step=0, total_steps=9, device="cpu")
    for step in (1, 2):
        page.write({"step": step, "box_ap": 0.5})
        numbers = EvaluationResult({"AP": 0.5}, {}, {name: {"box_ap": 0.5} for name in ("ball", "star")}, "")
        save_evaluation(tmp_path / "evaluations" / f"step-{step:08d}", Evaluated(step, numbers))
    path = tmp_path / "evaluations" / "step-00000002" / "result.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    for _ in range(2):
        page.close("finished")
    assert "COCO&#x27;s metrics after step 1" in report_of(tmp_path)
    [warning] = caplog.messages
    assert warning.startswith(
        f"an evaluation is left out of the report: {path}: expected the numbers of an evaluation;"
    )
    assert warning.endswith(said)


def test_of_a_diverged_run(make_config: MakeConfig) -> None:
    config = make_config(steps=20, learning_rate=1e18, warmup_steps=0, gradient_clip=0.0, checkpoint_every=1)
    with pytest.raises(UserError, match="diverged"):
        train(config, progress=False)
    assert config.output is not None
    report = report_of(config.output)
    assert "Stopped: step " in report
    assert "training diverged" in report
    assert f"Go on with <code>fastmrcnn train --resume {config.output}</code>." in report
    assert (config.output / "curves.png").exists()


def test_while_a_run_trains_without_evaluation(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(make_config().to_dict()))
    page = RunPage(tmp_path, [], first_step=0, total_steps=900, device="cpu")
    row = {"step": 1, "loss": 2.0, "learning_rate": 0.1}
    page.write(row)
    assert not (tmp_path / "report.html").exists()
    monkeypatch.setattr("fastmrcnn.training.watch.page.REFRESH_SECONDS", 0.0)
    page.write(row | {"step": 2})
    assert "Running, step 1 of 900." in report_of(tmp_path)  # before the new row is taken
    assert not (tmp_path / "curves.png").exists()
    page.close("interrupted")
    assert "Interrupted, step 2 of 900." in report_of(tmp_path)


def test_the_shown_images_have_objects_and_are_spread_over_the_data(scenes: Path, tmp_path: Path) -> None:
    document = json.loads((scenes / "annotations.json").read_text())
    first = document["images"][0]["id"]
    document["annotations"] = [item for item in document["annotations"] if item["image_id"] != first]
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    data = CocoDataset(tmp_path / "annotations.json", scenes / "images")
    assert shown_positions(data, 2) == [1, 2]
    assert shown_positions(data, 50) == [1, 2, 3, 4]
    showcase, model = Showcase(data, 2), MaskRCNN(tiny(data.class_names))
    shown = showcase.draw(model)
    assert [picture.name for picture in shown] == [data.image_path(index).name for index in (1, 2)]
    assert all(PICTURE_SIDE // 2 < max(picture.truth.size) <= PICTURE_SIDE for picture in shown)
    assert all(picture.truth.size == picture.found.size for picture in shown)


def test_a_long_run_is_kept_in_bounded_memory() -> None:
    history = RowHistory()
    for step in range(1, 10 * MOST_ROWS + 1):
        history.add({"step": step, "loss": 3.0 if step % 2 else 1.0, "seconds": 0.5, "gradient_norm": None})
        if step % MOST_ROWS == 0:
            history.add({"step": step, "box_ap": 0.5})
    training = [row for row in history.rows if "loss" in row]
    assert MOST_ROWS <= len(training) < 2 * MOST_ROWS
    assert training[-1]["step"] == 10 * MOST_ROWS
    assert {row["loss"] for row in training} == {2.0}
    assert training[0]["gradient_norm"] is None
    assert [row["step"] for row in history.measured] == [MOST_ROWS * number for number in range(1, 11)]
    assert history.seconds == 5 * MOST_ROWS
    assert history.last["loss"] == 1.0
