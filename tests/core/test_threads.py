"""Threads and forks: no hang, no wrong answer, no lost error. Each case is a process of its own with a time limit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from fastmrcnn import _C, ops

ROOT = Path(__file__).parents[2]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")

# Operators with enough work for a parallel region, and what they give; `check()` runs them all on the threads of now.
# Nothing else here may be large: in a forked child torch's own operators hang as soon as they use two threads.
OPERATORS = """
import numpy as np
import torch
from fastmrcnn import _C, ops

def make_inputs():
    generator = torch.Generator().manual_seed(0)
    rand = lambda *shape: torch.rand(*shape, generator=generator)
    boxes = rand(4000, 2).repeat(1, 2) * 300 + torch.tensor([0.0, 0, 20, 30])
    rois = torch.cat([torch.arange(60.0)[:, None] % 2, boxes[:60] / 8], 1)
    features = rand(2, 32, 50, 50)
    last = features.contiguous(memory_format=torch.channels_last)
    return boxes, rand(4000), torch.arange(4000) % 7, features, last, rois, rand(60, 32, 7, 7), rand(12, 28, 28)

def run(boxes, scores, groups, features, last, rois, gradient, masks):
    features = features.detach().requires_grad_()
    pooled = ops.roi_align(features, rois, 7)
    return [
        ops.batched_nms(boxes, scores, groups, 0.5), pooled.detach(),
        *torch.autograd.grad(pooled, features, gradient),
        ops.roi_align(last, rois, 7), ops.roi_pool(last, rois, 7), ops.paste_masks(masks, boxes[:12], (330, 340)),
    ]

INPUTS = make_inputs()
torch.set_num_threads(2)
EXPECTED = run(*INPUTS)

def check():
    assert all(np.array_equal(one, other) for one, other in zip(run(*INPUTS), EXPECTED))
"""


def run_python(tmp_path: Path, code: str, *, timeout: float = 120) -> str:
    """What a script prints. A file, because spawned processes import their parent's main module."""
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=timeout, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@needs_fork
def test_forked_children_and_their_children_run_parallel_regions(tmp_path: Path) -> None:
    code = """
import os

def in_child(body):
    child = os.fork()
    if child == 0:
        try:
            body()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0

def descend():
    assert _C.thread_backend() == "threads"
    check()
    check()
    in_child(check)
    check()

assert _C.thread_backend() == "torch"
for _ in range(3):
    in_child(descend)
    check()
"""
    run_python(tmp_path, OPERATORS + code)


@needs_fork
def test_a_fork_beside_running_operators(tmp_path: Path) -> None:
    """Other threads are inside a parallel region, or own the pool, when the process forks."""
    code = """
import os, threading

stop = False
def work():
    while not stop:
        check()
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
children = []
for _ in range(6):
    child = os.fork()
    if child == 0:
        nms = lambda: ops.batched_nms(*INPUTS[:3], 0.5)
        os._exit(0 if np.array_equal(nms(), EXPECTED[0]) and np.array_equal(nms(), EXPECTED[0]) else 1)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
stop = True
for thread in threads:
    thread.join()
assert statuses == [0] * 6, statuses
"""
    run_python(tmp_path, OPERATORS + code)


@pytest.mark.parametrize("start", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_loader_workers_run_operators(start: str, tmp_path: Path) -> None:
    code = f"""
class Cases(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        if index >= 4:  # a worker has one thread unless it asks for more
            torch.set_num_threads(2)
        check()
        return torch.tensor(_C.thread_backend() == "threads")

if __name__ == "__main__":
    check()
    loader = torch.utils.data.DataLoader(
        Cases(), batch_size=None, num_workers=2, multiprocessing_context="{start}", timeout=90
    )
    assert [bool(alone) for alone in loader] == [{start == "fork"}] * 8
    check()
"""
    run_python(tmp_path, OPERATORS + code, timeout=240)


@needs_fork
def test_a_forked_pool_of_processes_runs_operators(tmp_path: Path) -> None:
    code = """
import multiprocessing

def task(_):
    check()
    return _C.thread_backend()

if __name__ == "__main__":
    check()
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map_async(task, range(9)).get(timeout=90) == ["threads"] * 9
    check()
"""
    run_python(tmp_path, OPERATORS + code)


def test_python_threads_call_operators_at_once(tmp_path: Path) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(6) as pool:
    for future in [pool.submit(check) for _ in range(30)]:
        future.result(timeout=90)
"""
    run_python(tmp_path, OPERATORS + code)


def test_the_number_of_threads_may_change_between_calls(tmp_path: Path) -> None:
    code = """
for threads in (1, 3, 2, 7, 1, 2):
    torch.set_num_threads(threads)
    check()
"""
    run_python(tmp_path, OPERATORS + code)


# The pool of std::threads serves while torch is not loaded.
WITHOUT_TORCH = """
import os, sys, threading
import numpy as np
from fastmrcnn import _C

generator = np.random.default_rng(0)
corner = generator.random((4000, 2), np.float32) * 300
boxes = np.concatenate([corner, corner + 40], 1)
scores, groups = generator.random(4000, np.float32), np.arange(4000) % 7

def nms(threads):
    keep, count = np.empty(4000, np.int64), np.empty(1, np.int64)
    _C.nms((threads, 0), boxes, scores, groups, 0.5, keep, count, None)
    return keep[: count[0]].tolist()

expected = nms(1)
assert _C.thread_backend() == "threads" and "torch" not in sys.modules
"""


# Every channel from the fifth on is a task that fails, in its own words.
FAILING = """
import numpy as np
from fastmrcnn import _C
rois = np.repeat(np.array([[0, 1, 1, 25, 25]], np.float32), 200, 0)
gradient, argmax = np.ones((200, 16, 7, 7), np.float32), np.zeros((200, 16, 7, 7), np.int32)
argmax[:, 4:] = 10_000 + np.arange(4, 16).reshape(-1, 1, 1)
for threads in (1, 2, 4) * 10:
    try:
        _C.roi_pool_backward((threads, 0), gradient, rois, argmax, 1.0, np.empty((1, 16, 30, 30), np.float32))
    except ValueError as error:
        assert "argmax holds pixel 10004," in str(error), (threads, error)
    else:
        raise AssertionError("no error")
    argmax_of_pixel_one = np.ones_like(argmax)
    image = np.empty((1, 16, 30, 30), np.float32)
    _C.roi_pool_backward((threads, 0), gradient, rois, argmax_of_pixel_one, 1.0, image)
    assert (image[0, :, 0, 1] == 200 * 49).all() and image.sum() == gradient.sum()
print(_C.thread_backend())
"""


@pytest.mark.parametrize(("preface", "backend"), [("import torch", "torch"), ("", "threads")])
def test_the_error_of_a_region_does_not_depend_on_its_threads(preface: str, backend: str, tmp_path: Path) -> None:
    assert run_python(tmp_path, preface + FAILING).strip() == backend


@pytest.mark.parametrize(
    "code",
    [
        "assert all(nms(threads) == expected for threads in (2, 5, 1, 3, 16, 2))",
        """
wrong = []
def work():
    for threads in (2, 4) * 10:
        if nms(threads) != expected:
            wrong.append(threads)
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong
""",
        pytest.param(
            """
nms(3)
child = os.fork()
if child == 0:
    os._exit(0 if nms(3) == nms(2) == expected else 1)
assert os.waitpid(child, 0)[1] == 0 and nms(3) == expected
""",
            marks=needs_fork,
        ),
    ],
    ids=["counts", "concurrent", "fork"],
)
def test_the_pool_without_torch(code: str, tmp_path: Path) -> None:
    run_python(tmp_path, WITHOUT_TORCH + code)


def test_torch_loaded_after_the_first_region_is_joined_from_then_on(tmp_path: Path) -> None:
    code = """
nms(3)
import torch
torch.set_num_threads(2)
assert _C.thread_backend() == "torch" and nms(2) == expected
"""
    run_python(tmp_path, WITHOUT_TORCH + code)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the threads in /proc")
def test_no_parallel_region_is_opened_for_a_tiny_task(tmp_path: Path) -> None:
    code = """
import numpy as np
before = len(os.listdir("/proc/self/task"))
image, pooled = np.ones((1, 16, 30, 30), np.float32), np.empty((1, 16, 7, 7), np.float32)
rois, gradient = np.array([[0, 1, 1, 25, 25]], np.float32), np.empty_like(image)
_C.roi_align((4, 0), image, rois, 1.0, 2, True, pooled)
_C.roi_align_backward((4, 0), pooled, rois, 1.0, 2, True, gradient, None)
few = lambda array: array[:20].copy()
_C.nms((4, 0), few(boxes), few(scores), few(groups), 0.5, np.empty(20, np.int64), np.empty(1, np.int64), None)
assert len(os.listdir("/proc/self/task")) == before
assert nms(4) == expected and len(os.listdir("/proc/self/task")) == before + 3
"""
    run_python(tmp_path, WITHOUT_TORCH + code)


def test_concurrent_callers_get_their_own_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(8, 1000, 2, generator=generator) * 100
    boxes = torch.cat([corners, corners + 30], dim=2)
    scores, groups = torch.rand(8, 1000, generator=generator), torch.arange(1000) % 5
    expected = [ops.batched_nms(boxes[case], scores[case], groups, 0.5) for case in range(8)]
    failures: list[int] = []

    def work(case: int) -> None:
        for _ in range(10):
            if not torch.equal(ops.batched_nms(boxes[case], scores[case], groups, 0.5), expected[case]):
                failures.append(case)

    threads = [threading.Thread(target=work, args=(case,)) for case in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert _C.thread_backend() == "torch"
