"""One model for several threads, and for processes that are forked from one that has predicted."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fastmrcnn
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.ahead import lone_threads, settle_threads
from fastmrcnn.models.evaluation_mode import evaluation_mode
from fastmrcnn.ops import RLE
from fastmrcnn.structures import Detections, detections
from tests.models.small import images_of, small_model

ROOT = Path(__file__).parents[2]
THREADS = 6
TWENTY = {"score_threshold": 0.0, "detections": 20, "hidden": 16}  # detections whatever the scores
IMAGES = images_of((48, 64), (64, 48), (50, 70), (64, 64), (40, 90), (90, 40))


def same(one: Detections, other: Detections) -> bool:
    """To the bit."""
    pairs = ((one.boxes, other.boxes), (one.scores, other.scores), (one.masks, other.masks))
    return len(one) > 0 and all(torch.equal(ours, theirs) for ours, theirs in pairs)


def in_threads(work: Callable[[int], bool], count: int = THREADS) -> list[bool]:
    """``work(thread)`` in threads that all begin at once."""
    ready = threading.Barrier(count)

    def begin(thread: int) -> bool:
        ready.wait()
        return work(thread)

    with ThreadPoolExecutor(count) as pool:
        return [future.result(timeout=120) for future in [pool.submit(begin, thread) for thread in range(count)]]


@pytest.fixture(params=["train", "eval", "fast"])
def model(request: pytest.FixtureRequest) -> MaskRCNN:
    """With batch norms, which would learn from what they predict in training mode."""
    if request.param == "fast":  # with convolutions wide enough for Winograd's filtering
        fast = fastmrcnn.optimize(small_model(box_head=TWENTY, mask_head={"channels": 64}), sample=[])
        assert fast.report.step("Winograd").done
        return fast
    return small_model(box_head=TWENTY).train(request.param == "train")


def test_threads_find_what_one_finds(model: MaskRCNN) -> None:
    modes = [module.training for module in model.modules()]
    alone = [model.predict(image) for image in IMAGES]

    def work(thread: int) -> bool:
        for turn in range(4):
            first = (thread + turn) % len(IMAGES)
            if not same(model.predict(IMAGES[first]), alone[first]):
                return False
            order = [*range(first, len(IMAGES)), *range(first)]
            if not all(map(same, model.predict([IMAGES[i] for i in order], readers=2), [alone[i] for i in order])):
                return False
        return True

    assert in_threads(work) == [True] * THREADS
    assert [module.training for module in model.modules()] == modes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_threads_share_a_gpu_and_its_graphs() -> None:
    """Graphs are recorded by some threads while others predict without one."""
    plain = small_model(box_head=TWENTY).eval().cuda()
    expected = [plain.predict(image) for image in IMAGES]
    fast = fastmrcnn.optimize(plain, precision="float32", compile=False, sample=[])

    def work(thread: int) -> bool:
        for turn in range(3 * len(IMAGES)):
            place = (thread + turn) % len(IMAGES)
            found = fast.predict(IMAGES[place])
            torch.testing.assert_close(found.scores, expected[place].scores, atol=1e-2, rtol=0)
        return True

    assert in_threads(work) == [True] * THREADS


def test_masks_are_encoded_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is at its masks keeps no other from theirs, nor the child of a fork."""
    first, second = (small_model(box_head=TWENTY).eval().predict(image) for image in IMAGES[:2])
    inside, leave = threading.Event(), threading.Event()
    encode = detections.paste_masks_rle

    def encode_slowly(masks: torch.Tensor, *about: Any, **options: Any) -> list[RLE]:
        if masks is first.mask_probs:
            inside.set()
            assert leave.wait(timeout=20)
        return encode(masks, *about, **options)

    monkeypatch.setattr(detections, "paste_masks_rle", encode_slowly)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(lambda: first.run_lengths)
        assert inside.wait(timeout=20)
        try:
            assert len(pool.submit(lambda: second.run_lengths).result(timeout=10)) == len(second)
        finally:
            leave.set()
        assert slow.result() is first.run_lengths


def test_the_last_call_to_leave_restores_the_mode() -> None:
    model = small_model().train()
    model.backbone.stem.eval()  # a user's choice
    modes = [module.training for module in model.modules()]
    first, second = evaluation_mode(model), evaluation_mode(model.backbone)  # of what is a part of two models, too
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not model.backbone.training
    assert model.rpn.training
    second.__exit__(None, None, None)
    assert [module.training for module in model.modules()] == modes


def test_a_picture_that_threads_share_is_decoded_once() -> None:
    model = small_model(box_head=TWENTY).eval()
    pixels = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    expected = model.predict(pixels)
    for _ in range(3):
        picture = Image.open(io.BytesIO(file.getvalue()))  # which decodes when it is used first
        assert in_threads(lambda _, picture=picture: same(model.predict(picture), expected)) == [True] * THREADS


def test_threads_that_are_new_to_torch_beside_readers_that_start() -> None:
    expected, numbers = torch.get_num_threads(), []

    def number() -> None:
        settle_threads()
        numbers.append(torch.get_num_threads())

    def start_readers() -> None:
        for _ in range(40):
            lone_threads(2, "reader").shutdown()

    starting = threading.Thread(target=start_readers)
    starting.start()
    while starting.is_alive():
        own = threading.Thread(target=number)
        own.start()
        own.join()
    assert set(numbers) == {expected}


FORK = """
import multiprocessing, threading, torch
from fastmrcnn.models.evaluation_mode import evaluation_mode
from tests.models.small import small_model
from tests.models.test_concurrency import IMAGES, TWENTY, same

torch.set_num_threads(2)
model = small_model(box_head=TWENTY).train()
large = torch.rand(1, 64, 160, 160)
convolve = torch.nn.Conv2d(64, 64, 3, padding=1)

def predict(_):
    assert model.training  # whoever predicts in the parent
    many = model.predict(IMAGES, readers=2)
    with torch.inference_mode():
        return [model.predict(image) for image in IMAGES], many, convolve(large)

def near(one, other):  # a child that computes with fewer threads adds in another order
    return torch.allclose(one.boxes, other.boxes, atol=1e-2) and torch.allclose(one.scores, other.scores, atol=1e-4)
"""

CHECK = """
if __name__ == "__main__":
    alone, many, map = predict(None)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        answers = pool.map_async(predict, range(4)).get(timeout=100)
    for answer in [*answers, predict(None)]:
        assert all(near(*pair) for pair in zip(alone + many, answer[0] + answer[1], strict=True))
        assert torch.allclose(map, answer[2], atol=1e-5)
"""

WHILE_OTHERS_PREDICT = """
if __name__ == "__main__":
    before = [module.training for module in model.modules()]
    inside, leave = threading.Event(), threading.Event()
    def work():
        with evaluation_mode(model):
            inside.set()
            leave.wait()
    other = threading.Thread(target=work)
    other.start()
    inside.wait()
    assert not model.training
    def child():
        predict(None)
        assert [module.training for module in model.modules()] == before
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(100)
    assert process.exitcode == 0, process.exitcode
    assert not model.training
    leave.set()
    other.join()
    assert [module.training for module in model.modules()] == before
"""


def run_python(code: str, folder: Path, *, seconds: int = 40) -> None:
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    words: Sequence[str] = [sys.executable, "-W", "ignore::DeprecationWarning", str(script)]  # of forks beside threads
    run = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=seconds, cwd=folder)
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize("then", [CHECK, WHILE_OTHERS_PREDICT], ids=["after", "during"])
def test_forked_children_predict(then: str, tmp_path: Path) -> None:
    run_python(FORK + then, tmp_path)


COMPILE = """
import multiprocessing, os
os.environ["TORCHINDUCTOR_CACHE_DIR"] = "cache"  # an empty one: each function is compiled
import torch
import fastmrcnn.models.compiling

torch._inductor.config.compile_threads = 2

def in_parent(x):
    return x.exp() * 2

def in_child(x):
    return x.sin() - 3

def run(function):
    return torch.compile(function)(torch.ones(8))

if __name__ == "__main__":
    run(in_parent)
    process = multiprocessing.get_context("fork").Process(target=run, args=(in_child,))
    process.start()
    process.join(100)
    process.kill()
    assert process.exitcode == 0, process.exitcode
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no compiler")
def test_forked_children_compile(tmp_path: Path) -> None:
    run_python(COMPILE, tmp_path, seconds=120)
