"""Frames of videos as images: which ones, upright, in the right colours, at the right times."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.inference import predict_video
from fastmrcnn.inference.video.choice import FrameChoice
from fastmrcnn.inference.video.decoding import Damage, Video
from fastmrcnn.inference.video.pixels import PictureOf
from fastmrcnn.models import MaskRCNN, tiny
from tests.inference.video.films import RATE, av, moving_frames, turn, write_film


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(tiny(("a", "b")))


def read(path: Path, damage: Damage | None = None, **choice: Any) -> list[tuple[int, float, np.ndarray]]:
    """The number, time and pixels of the chosen frames."""
    chosen = FrameChoice(**choice)
    decoded = Video(str(path)).decoded(chosen.start, damage or Damage(str(path), tolerated=False))
    picture_of = PictureOf()
    return [(one.number, one.time, picture_of(one.frame)) for one in chosen.among(decoded)]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_frames_are_images(tmp_path: Path, model: MaskRCNN, batch_size: int) -> None:
    frames = moving_frames(7)
    film = write_film(tmp_path / "film.mkv", frames)
    found = list(predict_video(model, film, batch_size=batch_size, score_threshold=0.05))
    assert [frame.number for frame, _ in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [frame.time for frame, _ in found] == pytest.approx([number / RATE for number in range(7)])
    for (frame, detections), pixels in zip(found, frames, strict=True):
        np.testing.assert_array_equal(frame.image.permute(1, 2, 0), pixels)
        same = model.predict(pixels, score_threshold=0.05)
        assert len(detections) == len(same) > 0
        torch.testing.assert_close(detections.boxes, same.boxes, rtol=1e-4, atol=1e-2)
        assert detections.plot().size == (64, 48)


def test_a_grey_model_sees_brightness(tmp_path: Path) -> None:
    config = tiny(("a",))
    grey = replace(config, input=replace(config.input, mean=(114.0,), std=(57.0,)))
    film = write_film(tmp_path / "film.mkv", moving_frames(1))
    [(frame, _)] = predict_video(MaskRCNN(grey), film, score_threshold=0.9)
    assert frame.image.shape == (1, 48, 64)


@pytest.mark.parametrize(
    ("height", "matrix", "tag", "full", "codec"),
    [
        (96, "ITU709", 1, False, "libx264"),
        (96, "ITU709", 1, True, "libx264"),
        (96, "ITU601", 6, False, "libx264"),
        (96, "BT2020", 9, False, "libx264"),
        (96, "ITU601", 2, False, "mpeg4"),
        (720, "ITU709", 2, False, "libx264"),  # of high definition, and does not say
    ],
)
def test_colours(tmp_path: Path, height: int, matrix: str, tag: int, full: bool, codec: str) -> None:
    from av.video.reformatter import ColorRange, Colorspace

    if matrix == "BT2020" and not hasattr(Colorspace, matrix):
        pytest.skip("PyAV 17 reads BT.2020, but does not convert to it")

    patches = np.array([[200, 30, 40], [20, 180, 60], [30, 40, 210], [128, 128, 128], [250, 250, 250]], np.uint8)
    picture = np.broadcast_to(patches.repeat(32, 0), (height, 160, 3))
    film, depth = tmp_path / "film.mp4", ColorRange.JPEG if full else ColorRange.MPEG
    options = {"crf": "4", "colorspace": str(tag), "color_range": "pc" if full else "tv"}
    if codec == "mpeg4":
        options = {"qmax": "2", "b": "8M"}
    write_film(
        film,
        [picture],
        codec=codec,
        options=options,
        dst_colorspace={"ITU709": 1, "ITU601": 5, "BT2020": 9}[matrix],
        dst_color_range=depth,
    )
    with av.open(str(film)) as written:
        assert next(written.decode(video=0)).colorspace == tag
    [(_, _, pixels)] = read(film)
    np.testing.assert_allclose(pixels[height // 2, 16::32], patches, atol=5)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((0, 1, -1, 0), lambda pixels: np.rot90(pixels, -1)),
        ((0, -1, 1, 0), lambda pixels: np.rot90(pixels, 1)),
        ((-1, 0, 0, -1), lambda pixels: np.rot90(pixels, 2)),
        ((-1, 0, 0, 1), lambda pixels: pixels[:, ::-1]),
        ((1, 1, -1, 1), lambda pixels: pixels),  # by an eighth turn: as it is
    ],
)
def test_frames_are_upright(tmp_path: Path, matrix: tuple[int, int, int, int], expected: Any) -> None:
    film = write_film(tmp_path / "film.mp4", moving_frames(1), codec="mpeg4")
    [(_, _, plain)] = read(film)
    turn(film, *matrix)
    [(_, _, pixels)] = read(film)
    np.testing.assert_array_equal(pixels, expected(plain))


def test_times_of_a_variable_rate(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.15, 0.7, 1.0, 1.9]
    film = write_film(tmp_path / "film.mp4", moving_frames(6), codec="libx264", times=times)
    assert [time for _, time, _ in read(film)] == pytest.approx(times, abs=1e-3)
    assert [number for number, _, _ in read(film, fps=2)] == [1, 4, 5, 6]  # the first at or after 0, 0.5, 1.0, 1.5


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_times_that_do_not_begin_at_zero(tmp_path: Path, name: str) -> None:
    """As of a film that was cut out of another."""
    times = [5 + number / RATE for number in range(12)]
    film = write_film(tmp_path / name, moving_frames(12), codec="libx264", times=times)
    assert [time for _, time, _ in read(film)] == pytest.approx([time - 5 for time in times], abs=1e-3)
    assert Video(str(film)).length == pytest.approx(1.2, abs=0.15)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_a_part_of_a_video(tmp_path: Path, name: str) -> None:
    film = write_film(tmp_path / name, moving_frames(20), codec="libx264")
    whole = read(film)
    assert [number for number, _, _ in whole] == list(range(1, 21))
    part = read(film, start=0.95, end=1.6)
    assert [number for number, _, _ in part] == list(range(1, 7))
    for (_, moment, pixels), (_, own_moment, own) in zip(part, whole[10:16], strict=True):
        assert moment == pytest.approx(own_moment)
        np.testing.assert_array_equal(pixels, own)
    assert [number for number, _, _ in read(film, every=6)] == [1, 7, 13, 19]


def test_how_many_frames_are_expected() -> None:
    assert FrameChoice(every=4, fps=3, max_frames=9).expected(rate=20, length=2.0) == 6
    assert FrameChoice(start=1.5, max_frames=9).expected(rate=20, length=2.0) == 9
    assert FrameChoice(start=3).expected(rate=20, length=2.0) == 0
    assert FrameChoice().expected(rate=None, length=2.0) is None


@pytest.mark.parametrize(
    ("options", "remark"),
    [
        ({"color_trc": "smpte2084"}, "high dynamic range (PQ) is read as if it were standard"),
        ({"flags": "+ildct+ilme"}, "frames are interlaced and stay so"),
        ({}, None),
    ],
)
def test_what_a_player_would_show_otherwise_is_said_once(
    tmp_path: Path,
    model: MaskRCNN,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, str],
    remark: str | None,
) -> None:
    film = write_film(tmp_path / "film.mkv", moving_frames(3), codec="libx264", options=options)
    assert len(list(predict_video(model, film, score_threshold=0.9))) == 3
    assert [f"film.mkv: {remark}" in line for line in caplog.messages] == ([] if remark is None else [True])


def test_at_most_so_many_frames(tmp_path: Path, model: MaskRCNN) -> None:
    film = write_film(tmp_path / "film.mkv", moving_frames(9))
    found = predict_video(model, film, every=2, max_frames=3)
    assert [frame.number for frame, _ in found] == [1, 3, 5]
    assert not [thread for thread in threading.enumerate() if thread.name == "decode_video"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be at least 1; got 0"),
        ({"max_frames": 0}, "max_frames must be at least 1; got 0"),
        ({"fps": 0.0}, "fps must be more than 0; got 0.0"),
        ({"start": -1.0}, "start must be at least 0 seconds; got -1.0"),
        ({"start": 2.0, "end": 2.0}, "end must be after start, 2 s; got 2.0"),
        ({"options": ["fast"]}, "video_options must read NAME=VALUE; got fast"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, model: MaskRCNN, options: dict[str, Any], message: str) -> None:
    film = write_film(tmp_path / "film.mkv", moving_frames(1))
    with pytest.raises(UserError) as caught:
        list(predict_video(model, film, **options))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "codec", "fault"),
    [("film.mp4", "libx264", "a packet after 0.. s is damaged"), ("film.mkv", "mpeg4", "it ends after 1.. s of 4.0 s")],
)
def test_a_truncated_video(tmp_path: Path, name: str, codec: str, fault: str) -> None:
    film = write_film(tmp_path / name, moving_frames(40), codec=codec, container={"movflags": "faststart"})
    content = film.read_bytes()
    film.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"^.*{name}: expected an undamaged video; {fault}$"):
        read(film)
    damage = Damage("film", tolerated=True)
    assert 5 < len(read(film, damage)) < 40
    assert damage.line is not None
    assert damage.line.startswith("film: ")


def test_a_damaged_video(tmp_path: Path, model: MaskRCNN) -> None:
    film = write_film(tmp_path / "film.mp4", moving_frames(12), codec="mpeg4")
    content = bytearray(film.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    film.write_bytes(content)
    with pytest.raises(UserError, match=r"film\.mp4: expected an undamaged video; .* (damaged|does not decode)"):
        read(film)
    numbers = [frame.number for frame, _ in predict_video(model, film, skip_broken=True, score_threshold=0.9)]
    assert 4 < len(numbers) < 12


def test_a_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    frames = moving_frames(6)
    with av.open(str(tmp_path / "film.mkv"), "w") as film:
        cover, stream = film.add_stream("mjpeg", rate=RATE), film.add_stream("libx264", rate=RATE)
        cover.width, cover.height, cover.pix_fmt = 32, 24, "yuvj420p"
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        small = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[0][::2, ::2]), format="rgb24")
        film.mux(cover.encode(small.reformat(format="yuvj420p")))
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            film.mux(stream.encode(frame.reformat(format="yuv420p")))
        film.mux(cover.encode(None))
        film.mux(stream.encode(None))
    assert [pixels.shape for _, _, pixels in read(tmp_path / "film.mkv")] == 6 * [(48, 64, 3)]


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"text\.mp4: expected a video; it is in no video format, or damaged"):
        Video(str(tmp_path / "text.mp4"))
    with pytest.raises(UserError, match=r"gone\.mp4: expected a video; there is no such file"):
        Video(str(tmp_path / "gone.mp4"))
    with pytest.raises(UserError, match=r"^/dev/video99: expected a camera; there is no such device$"):
        next(predict_video(MaskRCNN(tiny(("a",))), 99))
    with pytest.raises(UserError, match=r"^http://127\.0\.0\.1:1/film\.mp4: .* cannot be opened: Connection refused$"):
        Video("http://admin:secret@127.0.0.1:1/film.mp4?key=1")
    with av.open(str(tmp_path / "sound.mp4"), "w") as sound:
        stream = sound.add_stream("aac", rate=8000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 8000
        sound.mux(stream.encode(tone))
        sound.mux(stream.encode(None))
    with pytest.raises(UserError, match=r"sound\.mp4: expected a video; there are no pictures in it"):
        Video(str(tmp_path / "sound.mp4"))


def test_without_pyav(tmp_path: Path, model: MaskRCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"expected the package av \(PyAV\).*: pip install av$"):
        list(predict_video(model, tmp_path / "film.mp4"))


def test_leaving_the_loop_ends_the_thread(tmp_path: Path, model: MaskRCNN) -> None:
    film = write_film(tmp_path / "film.mkv", moving_frames(30))
    for frame, _ in predict_video(model, film):
        assert frame.number == 1
        break
    patience = time.monotonic() + 10
    while any(thread.name == "decode_video" for thread in threading.enumerate()):
        assert time.monotonic() < patience
        time.sleep(0.01)
