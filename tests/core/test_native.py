"""The extension module itself: symbols, instruction sets, threads and forks, the tensors it accepts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fastmrcnn
from fastmrcnn import _C

ROOT = Path(__file__).parents[2]


def random_boxes(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * 100
    size = torch.rand(n, 2, generator=generator) * 40
    return torch.cat([corner, corner + size], dim=1), torch.rand(n, generator=generator)


def native_nms(boxes: object, scores: object, n: int, threads: int = 2) -> list[int]:
    keep, count = np.empty(n, np.int64), np.empty(1, np.int64)
    _C.nms((threads, 0), boxes, scores, None, 0.5, keep, count, None)
    return keep[: count[0]].tolist()


def test_numpy_arrays_and_torch_tensors_are_read_alike() -> None:
    boxes, scores = random_boxes(200)
    assert native_nms(boxes.numpy(), scores.numpy(), 200) == native_nms(boxes, scores, 200)


def test_tensor_attributes_are_the_fallback_of_the_exchange_api() -> None:
    """torch before 2.10 has no exchange API: a tensor-like object without it is read through its attributes."""

    class Attributes:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.shape, self.dtype, self.device = tensor.shape, tensor.dtype, tensor.device
            self.stride, self.data_ptr = tensor.stride, tensor.data_ptr

    boxes, scores = random_boxes(200)
    assert native_nms(Attributes(boxes), Attributes(scores), 200) == native_nms(boxes, scores, 200)


@pytest.mark.parametrize("argument", [[[0.0, 0.0, 1.0, 1.0]], "boxes", 3])
def test_what_is_not_a_tensor_is_refused(argument: object) -> None:
    with pytest.raises(TypeError, match="expected a torch tensor or a numpy array; got"):
        native_nms(argument, np.zeros(1, np.float32), 1)


def test_an_unsupported_dtype_is_refused() -> None:
    with pytest.raises(TypeError, match="unsupported array format"):
        native_nms(np.zeros((1, 4), np.complex64), np.zeros(1, np.float32), 1)


def test_an_unsupported_tensor_dtype_is_named() -> None:
    with pytest.raises(TypeError, match=r"unsupported tensor dtype torch\.int16"):
        native_nms(torch.zeros(1, 4, dtype=torch.int16), np.zeros(1, np.float32), 1)


def read_only(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


def test_outputs_must_be_writable_and_inputs_need_not() -> None:
    boxes, rois = read_only((3, 4), np.float32), read_only((0, 5), np.float32)
    image, pooled = np.zeros((1, 4, 5, 5), np.float32), np.zeros((0, 4, 2, 2), np.float32)
    assert native_nms(boxes, read_only((3,), np.float32), 3) == [0, 1, 2]
    context, frozen = (1, 0), read_only(pooled.shape, np.float32)
    for call, argument in (
        (
            lambda: _C.nms(
                context, boxes, boxes[:, 0].copy(), None, 0.5, read_only((3,), np.int64), np.zeros(1, int), None
            ),
            "keep",
        ),
        (lambda: _C.decode_boxes(context, boxes, boxes, [1] * 4, 4, None, read_only((3, 1, 4), np.float32)), "decoded"),
        (lambda: _C.roi_align(context, image, rois, 1, 0, True, frozen), "output"),
        (
            lambda: _C.roi_align_backward(context, pooled, rois, 1, 0, True, read_only(image.shape, np.float32), None),
            "grad_input",
        ),
        (lambda: _C.roi_pool(context, image, rois, 1, pooled, read_only(pooled.shape, np.int32)), "argmax"),
    ):
        with pytest.raises(ValueError, match=f": {argument} must be writable; got a read-only array$"):
            call()


def test_kept_indices_go_to_memory_of_their_own() -> None:
    """An expanded tensor has one element, a reversed array begins at its last: either would be written beyond."""
    boxes, scores = random_boxes(50)
    count = np.empty(1, np.int64)
    for keep in (torch.empty(1, dtype=torch.int64).expand(50), np.empty(50, np.int64)[::-1]):
        with pytest.raises(ValueError, match=r"^nms: keep must be contiguous$"):
            _C.nms((1, 0), boxes, scores, None, 0.5, keep, count, None)


def test_a_bad_context_is_refused() -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _C.nms(1, *random_boxes(1), None, 0.5, np.empty(1, np.int64), np.empty(1, np.int64), None)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


LEVELS = ["baseline", "avx2", "avx512"]
SAME_AT_EVERY_LEVEL = """
import numpy as np
from fastmrcnn import _C
generator = np.random.default_rng(0)
corner = generator.random((3000, 2), np.float32) * 300
boxes = np.concatenate([corner, corner + generator.random((3000, 2), np.float32) * 60], 1)
keep, count = np.empty(3000, np.int64), np.empty(1, np.int64)
_C.nms((2, 0), boxes, generator.random(3000, np.float32), None, 0.5, keep, count, None)
print(_C.isa(), _C.thread_backend(), keep[: count[0]].tolist())
"""


@pytest.mark.parametrize("level", LEVELS[: LEVELS.index(_C.isa()) + 1])
def test_forced_levels_agree_and_torch_is_not_needed(level: str) -> None:
    isa, backend, kept = run_python(SAME_AT_EVERY_LEVEL, FASTMRCNN_ISA=level).stdout.split(" ", 2)
    assert (isa, backend) == (level, "threads")
    assert kept == run_python(SAME_AT_EVERY_LEVEL).stdout.split(" ", 2)[2]


def test_an_unknown_level_is_named() -> None:
    message = run_python("from fastmrcnn import _C; _C.isa()", FASTMRCNN_ISA="sse9").stderr
    assert "FASTMRCNN_ISA must be baseline, avx2 or avx512; got sse9" in message


def test_torch_threads_are_joined() -> None:
    assert _C.thread_backend() == "torch"


def test_the_stub_names_what_the_module_has() -> None:
    stub = (Path(fastmrcnn.__file__).parent / "_C.pyi").read_text(encoding="utf-8")
    declared = set(re.findall(r"^(?:def )?([a-z]\w+)[(:]", stub, re.MULTILINE))
    if not _C.cuda_info()["built"]:
        declared = {name for name in declared if not name.endswith("_workspace")}
    assert declared == {name for name in dir(_C) if not name.startswith("_")}


@pytest.mark.skipif(shutil.which("ldd") is None, reason="needs ldd")
def test_the_extension_links_neither_torch_nor_cuda_nor_openmp() -> None:
    libraries = subprocess.run(["ldd", _C.__file__], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"torch|c10|cudart|libcuda|gomp|libomp|iomp", libraries)


def kernel_objects() -> list[Path]:
    return [path for path in ROOT.glob("build/**/fastmrcnn_kernels_*/**/*.o") if path.is_file()]


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
@pytest.mark.skipif(not kernel_objects(), reason="no build tree beside the sources")
def test_kernel_objects_define_no_weak_symbols() -> None:
    """The linker would keep one copy of such a symbol, perhaps the AVX-512 one, for the whole library."""
    for path in kernel_objects():
        listing = ["nm", "-C", "--defined-only", path]
        symbols = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
        weak = [line for line in symbols.splitlines() if re.search(r" [WVu] ", line)]
        assert not weak, f"{path}: {weak}"


def test_native_sources_include_no_framework() -> None:
    sources = [path for folder in ("cpp", "cuda", "bindings") for path in (ROOT / folder).rglob("*.*")]
    assert sources
    for path in sources:
        assert not re.search(r"#include [<\"](torch|ATen|c10)/", path.read_text(encoding="utf-8")), path


class Elsewhere:
    """A tensor as torch before 2.10 shows it, said to be on a GPU."""

    def __init__(self, tensor: torch.Tensor, index: int = 0) -> None:
        self.shape, self.dtype, self.stride = tensor.shape, tensor.dtype, tensor.stride
        self.device = torch.device("cuda", index)

    def data_ptr(self) -> int:
        return 4096


def test_tensors_on_two_devices_are_refused() -> None:
    deltas, boxes = torch.zeros(1, 4), torch.zeros(1, 4)
    decode = ((1.0, 1.0, 1.0, 1.0), 4.0, None)
    for mixed, found in (
        ((Elsewhere(deltas), boxes, *decode, torch.empty(1, 1, 4)), "cuda:0 and cpu"),
        ((Elsewhere(deltas), Elsewhere(boxes, 1), *decode, Elsewhere(torch.empty(1, 1, 4))), "cuda:0 and cuda:1"),
    ):
        with pytest.raises(ValueError, match=f"^decode_boxes: all tensors must be on one device; got {found}$"):
            _C.decode_boxes((1, 0), *mixed)


@pytest.mark.skipif(_C.cuda_info()["built"], reason="a build with CUDA kernels")
def test_a_build_without_cuda_kernels_names_the_fix() -> None:
    tensors = Elsewhere(torch.zeros(1, 4)), Elsewhere(torch.zeros(1))
    keep, count = Elsewhere(torch.zeros(1, dtype=torch.int64)), Elsewhere(torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"nms: this build of fastmrcnn has no CUDA kernels; reinstall it from source"):
        _C.nms((1, 0), *tensors, None, 0.5, keep, count, None)
