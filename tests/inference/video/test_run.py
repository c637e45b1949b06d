"""The command on videos and streams: ids, times, outputs, and results that are complete whatever ends them."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastmrcnn.errors import UserError
from fastmrcnn.inference import PredictConfig, predict_files
from fastmrcnn.structures.images import read_image, read_image_size
from fastmrcnn.weights import load_model
from tests.inference.traced import least_peak
from tests.inference.video.films import RATE, av, config_for, frames_of, moving_frames, turn, write_film


def test_a_video_file(tmp_path: Path, weights: str) -> None:
    frames, output = moving_frames(9), tmp_path / "found"
    film = write_film(tmp_path / "film.mkv", frames)
    summary = predict_files(config_for(film, weights, output, every=2, batch_size=2), progress=False)
    assert (summary.images, summary.broken, summary.dropped) == (5, [], 0)
    names = ["images.json", "predict.json", "predictions.json", "video"]
    assert sorted(path.name for path in output.iterdir()) == names
    listed = json.loads((output / "images.json").read_text())["images"]
    numbers = [1, 3, 5, 7, 9]
    assert [(entry["id"], entry["frame"]) for entry in listed] == [(number, number) for number in numbers]
    assert [entry["time"] for entry in listed] == pytest.approx([(number - 1) / RATE for number in numbers])
    assert {entry["file_name"] for entry in listed} == {str(film)}
    results = json.loads((output / "predictions.json").read_text())
    assert len(results) == summary.detections > 0
    same = load_model(weights, device="cpu").predict([frames[number - 1] for number in numbers], score_threshold=0.05)
    expected = [result for number, one in zip(numbers, same, strict=True) for result in one.to_coco(number)]
    assert [result["image_id"] for result in results] == [result["image_id"] for result in expected]
    np.testing.assert_allclose([r["bbox"] for r in results], [r["bbox"] for r in expected], atol=0.05)


def test_no_result_takes_the_place_of_its_video(tmp_path: Path, weights: str) -> None:
    (tmp_path / "video").mkdir()
    film = write_film(tmp_path / "video" / "film.mp4", moving_frames(2), codec="libx264")
    before = film.read_bytes()
    with pytest.raises(UserError, match=r"film\.mp4: expected a source that no result replaces; .*video/\*\.mp4 are"):
        predict_files(config_for(film, weights, tmp_path), progress=False)
    assert film.read_bytes() == before


def test_no_video_is_taken_twice(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_film(tmp_path / "film.mkv", moving_frames(2))
    monkeypatch.chdir(tmp_path)
    config = config_for(film, weights, tmp_path / "found", save=("jsonl",))
    config = dataclasses.replace(config, images=("film.mkv", "./film.mkv", str(film), "*.mkv"))
    assert predict_files(config, progress=False).images == 2


def test_a_part_behind_the_end_is_said(tmp_path: Path, weights: str, caplog: pytest.LogCaptureFixture) -> None:
    film = write_film(tmp_path / "film.mkv", moving_frames(9))
    with caplog.at_level(logging.WARNING):
        assert predict_files(config_for(film, weights, tmp_path / "found", start=60), progress=False).images == 0
    assert f"{film}: has no frame from second 60 on, as it lasts 0.9 s" in caplog.text


def test_the_annotated_video(tmp_path: Path, weights: str) -> None:
    times = [0.0, 0.1, 0.2, 0.9, 1.0]
    frames = moving_frames(5, height=45, width=63)  # 4:2:0 needs even sides
    film = write_film(tmp_path / "film.mkv", frames, times=times)
    predict_files(config_for(film, weights, tmp_path / "found", save=("video", "overlays")), progress=False)
    drawn = frames_of(tmp_path / "found" / "video" / "film.mp4")
    assert [frame.time for frame in drawn] == pytest.approx(times, abs=1e-3)
    assert {(frame.width, frame.height) for frame in drawn} == {(64, 46)}
    with av.open(str(tmp_path / "found" / "video" / "film.mp4")) as written:
        assert written.streams.video[0].codec_context.name == "h264"
    assert len(list((tmp_path / "found" / "overlays").iterdir())) == 5
    overlay = read_image(tmp_path / "found" / "overlays" / "film-f000004.jpg").permute(1, 2, 0).double().numpy()
    difference = np.abs(drawn[3].to_ndarray(format="rgb24")[:45, :63] - overlay)
    assert difference.mean() < 12  # what two compressions leave; another frame is 40 away


def test_the_annotated_video_is_upright(tmp_path: Path, weights: str) -> None:
    film = write_film(tmp_path / "film.mp4", moving_frames(2), codec="mpeg4")
    turn(film, 0, 1, -1, 0)
    predict_files(config_for(film, weights, tmp_path / "found", save=("video",)), progress=False)
    [first, _] = frames_of(tmp_path / "found" / "video" / "film.mp4")
    assert (first.width, first.height, first.rotation) == (48, 64, 0)


def test_every_other_kind_of_output(tmp_path: Path, weights: str) -> None:
    film, output = write_film(tmp_path / "film.mkv", moving_frames(2)), tmp_path / "found"
    kinds = ("coco", "csv", "crops", "geojson", "labelme", "yolo", "labels", "jsonl")
    summary = predict_files(config_for(film, weights, output, save=kinds), progress=False)
    rows = list(csv.DictReader((output / "instances.csv").read_text().splitlines()))
    assert len(rows) == summary.detections > 0
    assert {(row["image"], row["frame"], row["time"]) for row in rows} <= {
        (str(film), "1", "0.0"),
        (str(film), "2", "0.1"),
    }
    lines = [json.loads(line) for line in (output / "detections.jsonl").read_text().splitlines()]
    assert [(line["id"], line["frame"], line["height"]) for line in lines] == [(1, 1, 48), (2, 2, 48)]
    results = json.loads((output / "predictions.json").read_text())
    told = [(line["id"], one["bbox"], one["score"]) for line in lines for one in line["detections"]]
    assert told == [(one["image_id"], one["bbox"], one["score"]) for one in results]
    assert {one["class"] for line in lines for one in line["detections"]} <= {"a", "b"}
    for name in ("film-f000001", "film-f000002"):  # the frames themselves, for those who work with the outlines
        assert read_image_size(output / "yolo" / "images" / f"{name}.png") == (48, 64)
        assert json.loads((output / "labelme" / f"{name}.json").read_text())["imagePath"] == f"{name}.png"


def test_several_videos(tmp_path: Path, weights: str) -> None:
    for folder, count in (("a", 3), ("b", 2)):
        (tmp_path / folder).mkdir()
        write_film(tmp_path / folder / "film.mkv", moving_frames(count))
    config = config_for(tmp_path / "*" / "*", weights, tmp_path / "found", score_threshold=0.9)
    predict_files(config, progress=False)
    listed = json.loads((tmp_path / "found" / "images.json").read_text())["images"]
    assert [(entry["id"], entry["frame"]) for entry in listed] == [(1, 1), (2, 2), (3, 3), (4, 1), (5, 2)]
    videos = tmp_path / "found" / "video"
    assert [len(frames_of(videos / name)) for name in ("film.mp4", "film-2.mp4")] == [3, 2]


def test_videos_among_images_are_not_left_out_in_silence(
    tmp_path: Path, weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mixed").mkdir()
    for name in ("a.mkv", "b.mkv"):
        write_film(tmp_path / "mixed" / name, moving_frames(1))
    Image.fromarray(moving_frames(1)[0]).save(tmp_path / "mixed" / "photo.png")
    summary = predict_files(config_for(tmp_path / "mixed", weights, tmp_path / "found", save=("coco",)), progress=False)
    assert summary.images == 1
    assert "mixed: 2 videos are left out: there are images too" in caplog.text


def test_a_truncated_video(tmp_path: Path, weights: str) -> None:
    film = write_film(tmp_path / "film.mkv", moving_frames(30), codec="mpeg4")
    content = film.read_bytes()
    film.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"film\.mkv: expected an undamaged video; it ends after .* s of 3\.0 s"):
        predict_files(config_for(film, weights, tmp_path / "found", score_threshold=0.9), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]
    config = config_for(film, weights, tmp_path / "found", score_threshold=0.9, skip_broken=True)
    summary = predict_files(config, progress=False)
    assert 5 < summary.images < 30
    [line] = summary.broken
    assert line.startswith(f"{film}: it ends after ")
    assert len(frames_of(tmp_path / "found" / "video" / "film.mp4")) == summary.images


def test_a_video_that_cannot_be_opened_may_be_skipped(tmp_path: Path, weights: str) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").write_text("no video")
    write_film(tmp_path / "films" / "b.mkv", moving_frames(2))
    summary = predict_files(
        config_for(tmp_path / "films", weights, tmp_path / "found", skip_broken=True), progress=False
    )
    assert summary.images == 2
    assert summary.broken == [f"{tmp_path / 'films' / 'a.mp4'}: expected a video; it is in no video format, or damaged"]


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        (("film.mkv", "photo.jpg"), {}, "images: expected images or videos, not both; got film.mkv beside photo.jpg"),
        (("rtsp://u:p@cam/1", "b.mp4"), {}, "to be the only source; got rtsp://cam/1 and more"),
        (("gone/*.mp4",), {}, "gone/*.mp4: expected a glob that matches videos; there is no such file"),
        (("gone.mp4",), {}, "gone.mp4: expected a video file; there is no such file"),
        (
            ("photo.jpg",),
            {"fps": 2.0},
            "every, fps, start, end and max_frames choose frames of videos; images has none",
        ),
        (
            ("photo.jpg",),
            {"save": ("video",)},
            "photo.jpg: expected a video, of which save makes a video; this is an image",
        ),
        (("film.mkv",), {"annotations": Path("a.json")}, "annotations: expected images, whose ids it has"),
    ],
)
def test_refusals(
    tmp_path: Path,
    weights: str,
    monkeypatch: pytest.MonkeyPatch,
    images: tuple[str, ...],
    changes: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_film(Path("film.mkv"), moving_frames(1))
    Image.new("RGB", (32, 32)).save("photo.jpg")
    with pytest.raises(UserError) as caught:
        predict_files(PredictConfig(images=images, weights=weights, device="cpu", **changes), progress=False)
    assert message in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mkv", "photo.jpg"]


def test_memory_does_not_grow_with_the_length(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six times the frames take no more than a few of them would."""
    model = load_model(weights, device="cpu")
    monkeypatch.setattr("fastmrcnn.inference.stream.load_model", lambda *_, **__: model)
    peaks = []
    for count in (4, 24):
        film = write_film(tmp_path / f"{count}.mkv", moving_frames(count, 72, 96))
        config = config_for(film, weights, tmp_path / f"found-{count}", score_threshold=0.9, save=("coco", "video"))
        assert predict_files(config, progress=False).images == count  # pays for what is imported and cached
        peaks.append(least_peak(partial(predict_files, config, progress=False)))
    assert peaks[1] - peaks[0] < 4 * 72 * 96 * 3  # bytes
