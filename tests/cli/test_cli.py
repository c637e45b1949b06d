"""The command line: help, one line for each mistake, exit codes, and commands that work together."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fastmrcnn
from fastmrcnn.cli import main
from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.models import MaskRCNN, tiny
from fastmrcnn.weights import save_model
from tests.data.readers.same_scene import write_yolo

SHORT = ["--steps", "2", "--batch-size", "1", "--workers", "0", "--device", "cpu", "--shown-images", "1"]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_dataset(folder, images=2, seed=3, size=(64, 80), classes=("ball", "star"))
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_model(MaskRCNN(tiny(("ball", "star"))), path)
    return str(path)


def data_options(scenes: Path) -> list[str]:
    return ["--train-annotations", str(scenes / "annotations.json"), "--train-images", str(scenes / "images")]


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command prints."""
    capsys.readouterr()
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("fastmrcnn: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastmrcnn {fastmrcnn.__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["demo", "doctor", "train", "eval", "predict", "convert", "export", "bench"]),
        (["--help"], ["Start with `fastmrcnn demo`"]),
        (["demo", "--help"], ["--output", "report"]),
        (["train", "--help"], ["--train-annotations", "--learning-rate", "--resume", "--config", "--precision"]),
        (["doctor", "--help"], ["--val", "--fix", "--report", "--fail-on"]),
        (["eval", "--help"], ["--annotations", "--images", "--weights", "--output"]),
        (["export", "--help"], ["--format", "--inputs", "--no-check", "standard"]),
        (["bench", "--help"], ["--model", "--size INT INT", "--fast", "--repeats"]),
        (["predict", "--help"], ["--score-threshold", "--annotations", "--skip-broken"]),
    ],
)
def test_help(words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    printed = capsys.readouterr().out
    for text in expected:
        assert text in printed
    assert ">>>" not in printed
    assert "None" not in printed


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys; from fastmrcnn.cli import main; main(['train', '--help']); main(['doctor', '--help'])\n"
        "assert not {'torch', 'numpy', 'PIL', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["unknown"], "unknown"),
        (["train"], "--train-annotations"),
        (["demo", "--imagess", "2"], "--images"),
        (["predict", "a.jpg", "--batch-size", "many"], "many"),
    ],
)
def test_usage_errors(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.out == ""


def test_values_that_cannot_work(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "batch_size must be at least 1; got 0" in error_of(
        ["train", *data_options(scenes), "--batch-size", "0"], capsys
    )
    assert "score_threshold must be in 0..1; got 2.0" in error_of(
        ["predict", "a.jpg", "--score-threshold", "2"], capsys
    )
    assert "steps must be at least 1; got 0" in error_of(["demo", "--steps", "0"], capsys)


def test_refusals_of_train(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["--output", str(tmp_path / "run")]
    missing = ["train", "--train-annotations", "no.json", "--train-images", str(scenes / "images"), *output]
    assert "no.json: " in error_of(missing, capsys)

    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [')
    words = ["train", "--train-annotations", str(broken), "--train-images", str(scenes / "images"), *output]
    assert f"{broken}: " in error_of(words, capsys)

    document = json.loads((scenes / "annotations.json").read_text())
    document["annotations"][0]["category_id"] = 99
    unknown = tmp_path / "unknown.json"
    unknown.write_text(json.dumps(document))
    words = ["train", "--train-annotations", str(unknown), "--train-images", str(scenes / "images"), *output]
    assert "99" in error_of(words, capsys)

    document["annotations"] = [annotation | {"iscrowd": 1} for annotation in document["annotations"][1:]]
    unknown.write_text(json.dumps(document))
    refusal = f"{unknown}: expected images with objects; crowds and masks without a pixel aside, none of its 2 has one"
    assert refusal in error_of(words, capsys)

    options = tmp_path / "options.json"
    options.write_text('{"learning_rat": 1}')
    assert "options.json: unknown option 'learning_rat'; did you mean 'learning_rate'?" in error_of(
        ["train", *data_options(scenes), "--config", str(options)], capsys
    )
    assert "there is no config.json in it" in error_of(["train", "--resume", str(tmp_path)], capsys)
    assert "no-weights: " in error_of(["train", *data_options(scenes), "--weights", "no-weights", *output], capsys)
    assert not (tmp_path / "run").exists()
    words = ["train", *data_options(scenes), "--output", str(options)]
    assert f"{options}: expected a folder to write to; this is a file" in error_of(words, capsys)


def test_an_image_that_does_not_decode(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in (scenes / "images").iterdir():
        (images / path.name).write_bytes(path.read_bytes()[:300])
    words = ["train", "--train-annotations", str(scenes / "annotations.json"), "--train-images", str(images)]
    for workers in ("0", "1"):
        output = tmp_path / f"run{workers}"
        line = error_of([*words, "--model", "tiny", "--output", str(output), *SHORT, "--workers", workers], capsys)
        assert "train_00000" in line
        assert "it does not decode" in line
        assert not list(output.rglob("*.safetensors"))


def test_train_eval_predict_resume(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = tmp_path / "options.json"
    values = {"model": "tiny", "lr_milestones": [0.5], "steps": 9, "train_images": str(scenes / "images")}
    options.write_text(json.dumps(values))
    annotations = str(scenes / "annotations.json")
    words = ["train", "--train-annotations", annotations, "--config", str(options), *SHORT]
    assert main(words) == 0  # the typed --steps 2 overrides the file's 9
    run = Path("runs/train-1")
    assert json.loads((run / "config.json").read_text())["lr_milestones"] == [0.5]
    assert json.loads((run / "config.json").read_text())["steps"] == 2
    assert f"fastmrcnn predict IMAGES --weights {run / 'last.safetensors'}" in capsys.readouterr().out

    assert main(["train", "--resume", str(run), "--steps", "3"]) == 0
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    assert main(["train", "--resume", str(run)]) == 0
    assert "had finished already, at step 3: --epochs or --steps asks for more" in capsys.readouterr().out

    last = str(run / "last.safetensors")
    images = str(scenes / "images")
    evaluation = ["eval", "--annotations", annotations, "--images", images, "--weights", last]
    capsys.readouterr()
    assert main([*evaluation, "--device", "cpu", "--output", "numbers.json"]) == 0
    assert "Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ]" in capsys.readouterr().out
    numbers = json.loads(Path("numbers.json").read_text())
    assert numbers["images"] == 2
    assert set(numbers["per_class"]) == {"ball", "star"}

    assert main(["predict", images, "--weights", last, "--device", "cpu"]) == 0
    assert sorted(path.name for path in Path("predictions").iterdir()) == [
        "images.json",
        "overlays",
        "predict.json",
        "predictions.json",
    ]


@pytest.mark.parametrize("named", [[], ["--data-format", "yolo"]])
def test_train_and_eval_find_out_the_format_and_the_splits(
    named: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(write_yolo(tmp_path / "data"))
    run = tmp_path / "run"
    words = ["--train-annotations", data, "--eval-annotations", data, *named, "--output", str(run)]
    assert main(["train", *words, "--model", "tiny", *SHORT, "--steps", "1"]) == 0
    assert main(["train", "--resume", str(run), "--steps", "2"]) == 0
    printed = capsys.readouterr().out
    assert "Average Precision" in printed
    assert f"weights: {run / 'best.safetensors'} (the table is of {run / 'last.safetensors'})" in printed
    evaluation = ["eval", "--annotations", data, *named, "--weights", str(run / "last.safetensors")]
    assert main([*evaluation, "--split", "train", "--device", "cpu"]) == 0
    assert "expected the name of one of its splits (train, val); got test" in error_of(
        [*evaluation, "--split", "test"], capsys
    )


def test_train_says_what_it_keeps_of_the_weights(
    weights: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *data_options(scenes), "--weights", weights, "--output", str(tmp_path / "run"), *SHORT]
    assert main([*words, "--steps", "1"]) == 0
    assert f"{weights}: kept all " in capsys.readouterr().err
    assert not logging.getLogger("fastmrcnn").handlers


def test_refusals_of_predict_and_eval(
    weights: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_text("no image")
    output = ["--output", str(tmp_path / "found"), "--weights", weights, "--device", "cpu"]
    assert f"{photo}: expected an image file" in error_of(["predict", str(photo), *output], capsys)
    assert "nothing.jpg: expected an image file, a folder or a glob" in error_of(
        ["predict", "nothing.jpg", *output], capsys
    )
    assert "expected at least one file, folder or glob" in error_of(["predict", *output], capsys)
    data = ["--annotations", str(scenes / "annotations.json"), "--images", str(scenes / "images")]
    missing = ["eval", *data, "--weights", "nothing.safetensors"]
    assert "nothing.safetensors" in error_of(missing, capsys)
    assert "this is a folder" in error_of([*missing, "--output", str(scenes)], capsys)  # before the weights are read
    assert "batch_size must be at least 1" in error_of(["eval", *data, "--batch-size", "0"], capsys)

    classes = tmp_path / "classes.json"
    document = json.loads((scenes / "annotations.json").read_text())
    data = ["--annotations", str(classes), *data[2:], "--weights", weights, "--device", "cpu"]
    document["categories"][0]["name"] = "moon"
    classes.write_text(json.dumps(document))
    assert main(["eval", *data]) == 0
    assert f"{weights} does not know moon: objects of such a class count as missed" in capsys.readouterr().err
    document["categories"][1]["name"] = "sun"
    classes.write_text(json.dumps(document))
    assert f"expected a category that {weights} knows (ball, star); got moon, sun" in error_of(["eval", *data], capsys)
    classes.unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.jpg"]


def test_overlays_of_a_glob_through_a_process(weights: str, tmp_path: Path) -> None:
    for number in range(2):
        Image.fromarray(np.full((40, 50, 3), 90 * number, np.uint8)).save(tmp_path / f"{number}.png")
    command = [sys.executable, "-m", "fastmrcnn", "predict", "*.png", "--weights", weights, "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "in 2 images" in done.stdout
    assert sorted(path.name for path in (tmp_path / "predictions" / "overlays").iterdir()) == ["0.jpg", "1.jpg"]


def test_ctrl_c_ends_with_130_and_a_checkpoint(scenes: Path, tmp_path: Path) -> None:
    words = [*data_options(scenes), "--model", "tiny", "--output", str(tmp_path / "run"), *SHORT, "--steps", "10000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fastmrcnn", "train", *words],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 130
    assert printed.endswith("fastmrcnn: interrupted\n")
    assert "Traceback" not in printed
    [checkpoint] = (tmp_path / "run" / "checkpoints").iterdir()
    assert (checkpoint / "weights.safetensors").exists()


def test_a_full_disk_is_one_line(
    scenes: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Image.Image, path: Path, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Image.Image, "save", full)
    words = ["predict", str(scenes / "images"), "--weights", weights, "--output", str(tmp_path / "found")]
    assert error_of(words, capsys).endswith("found: cannot be written: No space left on device\n")
    assert list(tmp_path.iterdir()) == []


def test_sigterm_leaves_nothing_half_written(
    scenes: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Image.Image, "save", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    words = ["predict", str(scenes / "images"), "--weights", weights, "--output", str(tmp_path / "found")]
    assert main(words) == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == handler
