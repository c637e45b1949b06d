"""The interpreter's checks find the mistakes of planted_bugs.cu and nothing in the correct twins."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cuda.interpreter import Device, DeviceArray, KernelError
from tests.cuda.interpreter.device import is_from_cub

SOURCE = Path(__file__).with_name("planted_bugs.cu")
RUNTIME = Path(__file__).parent / "interpreter" / "runtime.cpp"
FLAGS = ["-std=c++17", "-gencode=arch=compute_90,code=compute_90", "--no-compress", "-lineinfo", "-fmad=false"]
N = 150  # elements: the last of three blocks of 64 threads is not full

FINDINGS = {
    "reads_behind_the_end": "memcheck: load of 4 bytes by block 2, thread 21 outside of every buffer; offset 600 of",
    "writes_before_the_start": "memcheck: store of 4 bytes by block 0, thread 0 outside of every buffer",
    "stores_a_vector_anywhere": "memcheck: misaligned store of 8 bytes by block 0, thread 0",
    "overruns_shared_memory": "memcheck: load of 4 bytes by block 0, thread 0 at offset 256 of 256 bytes of",
    "asks_for_too_little_shared_memory": "memcheck: store of 4 bytes by block 0, thread 63 at offset 256 of 256 bytes",
    "overruns_a_local_array": "memcheck: store of 4 bytes by block 0, thread 0 at offset 28 of 16 bytes of",
    "reads_its_output": "initcheck: block 0, thread 0 reads memory that nobody has written, in a float32 [150] array",
    "leaves_shared_memory_unwritten": "initcheck: block 0, thread 7 reads memory that nobody has written, in shared",
    "forgets_a_barrier": "racecheck: read by block 0, thread 0 and write by block 0, thread 63 are not ordered",
    "overwrites_what_others_read": "racecheck: write by block 0, thread 0 and read by block 0, thread 1",
    "forgets_a_warp_barrier": "racecheck: read by block 0, thread 1 and write by block 0, thread 0 are not ordered",
    "relies_on_a_shuffle_for_memory": "racecheck: read by block 0, thread 0 and write by block 0, thread 1",
    "synchronises_another_half_of_the_warp": "racecheck: read by block 0, thread 0 and write by block 0, thread 16",
    "synchronises_another_half_of_the_block": "racecheck: read by block 0, thread 0 and write by block 0, thread 32",
    "adds_without_atomics": "racecheck: write by block 0, thread 0 and write by block",
    "gives_an_output_two_owners": "racecheck: write by block 0, thread 0 and write by block 1, thread 0",
    "reads_beside_an_atomic": "racecheck: read by block 0, thread 0 and atomic by block 0, thread 63 are not ordered",
    "reuses_the_storage_of_a_scan": "racecheck: write by block",
    "returns_before_a_barrier": "synccheck: 42 of 64 threads of block 2 never reach a __syncthreads()",
    "waits_in_a_branch": "synccheck: threads of block 0 wait at different barriers",
    "shuffles_in_a_branch": "synccheck: deadlock, threads wait for others that never come",
    "names_others_in_its_mask": "synccheck: block 0, thread 0 is not in the mask of the warp collective that it calls",
    "fails_an_assertion": "trap: block 2, thread 21 failed an assertion",
}


class Library:
    """planted_bugs.cu on the pretended GPU."""

    def __init__(self, path: Path) -> None:
        self.device = Device(path)
        self.functions = ctypes.CDLL(str(path))
        self.functions.error_name.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: object) -> str:
        """The name of the error that the runtime returns."""
        passed = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, DeviceArray) else a for a in arguments]
        return self.functions.error_name(getattr(self.functions, name)(*passed)).decode()

    def launch(self, name: str, bug: bool, given: DeviceArray | None = None) -> np.ndarray:
        given = given or self.device.array(np.arange(N, dtype=np.float32))
        result = self.device.empty((N,), np.float32)
        try:
            error = self.call("launch_case", name.encode(), bug, 3, given, result, N)
            self.device.check()
            assert error == "cudaSuccess"
            return result.numpy()
        finally:
            given.free()
            result.free()


@pytest.fixture(scope="module")
def library(nvcc: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("planted_bugs")
    path = folder / "planted_bugs.so"
    compiler = ["nvcc", *FLAGS, "-Xcompiler=-fPIC,-fvisibility=hidden"]
    for command in (
        [*compiler, "-c", SOURCE, "-o", folder / "kernels.o"],
        [*compiler, "-c", RUNTIME, "-o", folder / "runtime.o"],
        ["c++", "-shared", folder / "kernels.o", folder / "runtime.o", "-o", path, "-Wl,-Bsymbolic,--no-undefined"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    library = Library(path)
    yield library
    library.device.close()


@pytest.mark.parametrize("name", FINDINGS)
def test_a_mistake_is_found(name: str, library: Library) -> None:
    with pytest.raises(KernelError) as caught:
        library.launch(name, bug=True)
    message = str(caught.value)
    assert FINDINGS[name] in message
    assert f"::{name}<true>" in message


@pytest.mark.parametrize("name", FINDINGS)
def test_the_correct_twin_passes(name: str, library: Library) -> None:
    library.launch(name, bug=False)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("reads_behind_the_end", ["if (i < n) out[i] = in[kBug ? i + 1 : i];"]),
        (
            "forgets_a_barrier",
            ["if (i < n) out[i] = tile[kThreads - 1 - threadIdx.x];", "tile[threadIdx.x] = i < n ? in[i] : 0.f;"],
        ),
        ("waits_in_a_branch", ["if (!kBug || threadIdx.x < 32) __syncthreads();", "__syncthreads();"]),
    ],
)
def test_a_finding_names_the_source_lines(name: str, lines: list[str], library: Library) -> None:
    with pytest.raises(KernelError) as caught:
        library.launch(name, bug=True)
    source = SOURCE.read_text().splitlines()
    named = {source[int(line) - 1].strip() for line in re.findall(r"planted_bugs\.cu:(\d+)", str(caught.value))}
    assert named == set(lines)


def test_every_case_has_a_finding() -> None:
    cases = re.findall(r"CASE\((\w+), .*\),", SOURCE.read_text())
    assert sorted(cases) == sorted([*FINDINGS, "overflows_an_index"])


def test_indices_beyond_31_bits(library: Library) -> None:
    rows = library.device.sparse(4 * N << 24)
    rows.bytes.view(np.float32)[:: 1 << 24] = np.arange(N)
    assert np.array_equal(library.launch("overflows_an_index", bug=False, given=rows), np.arange(N))
    rows = library.device.sparse(4 * N << 24)
    with pytest.raises(KernelError, match="memcheck: load of 4 bytes by block 2, thread 0 outside of every buffer"):
        library.launch("overflows_an_index", bug=True, given=rows)


def test_freed_memory_is_out_of_bounds(library: Library) -> None:
    given = library.device.array(np.zeros(N, np.float32))
    given.free()
    with pytest.raises(KernelError, match=r"memcheck: load of 4 bytes .* outside of every buffer"):
        library.launch("forgets_a_barrier", bug=False, given=given)


@pytest.mark.parametrize(
    ("threads", "shared_bytes", "allowed_bytes", "error"),
    [
        (64, 64 * 4, 0, "cudaSuccess"),
        (0, 0, 0, "cudaErrorInvalidConfiguration"),
        (1025, 8192, 0, "cudaErrorInvalidConfiguration"),
        (64, 48 * 1024 + 4, 48 * 1024, "cudaErrorInvalidConfiguration"),
        (64, 227 * 1024, 227 * 1024, "cudaSuccess"),
        (64, 227 * 1024 + 4, 227 * 1024, "cudaErrorInvalidConfiguration"),
        (64, 0, 228 * 1024, "cudaErrorInvalidValue"),
    ],
)
def test_launch_limits(threads: int, shared_bytes: int, allowed_bytes: int, error: str, library: Library) -> None:
    given, result = library.device.array(np.zeros(N, np.float32)), library.device.empty((N,), np.float32)
    assert library.call("launch_sizes", threads, shared_bytes, allowed_bytes, given, result, N) == error
    library.device.check()


def test_fills_and_copies_initialise(library: Library) -> None:
    device = library.device
    ints = device.empty((4,), np.int32)
    assert not ints.initialised().any()
    assert library.call("fill", ints, 1, ctypes.c_size_t(8)) == "cudaSuccess"
    assert ints.initialised().tolist() == [True, True, False, False]
    copy = device.array(np.zeros(4, np.int32))
    assert library.call("copy", copy, ints, ctypes.c_size_t(16), 3) == "cudaSuccess"
    assert copy.numpy()[:2].tolist() == [0x01010101] * 2
    assert copy.initialised().tolist() == [True, True, False, False]
    host = np.array([7, 8], np.int32)
    assert library.call("copy", copy, ctypes.c_void_p(host.ctypes.data), ctypes.c_size_t(8), 1) == "cudaSuccess"
    assert copy.numpy()[:2].tolist() == [7, 8]
    device.check()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("fill", (0, ctypes.c_size_t(17)), "memcheck: cudaMemsetAsync of 17 bytes outside of every buffer"),
        ("copy", (None, ctypes.c_size_t(4), 3), "memcheck: cudaMemcpyAsync of 4 bytes outside of every buffer"),
        ("copy", (None, ctypes.c_size_t(4), 2), "cudaMemcpyAsync to the host"),
    ],
)
def test_wrong_fills_and_copies(name: str, arguments: tuple, message: str, library: Library) -> None:
    assert library.call(name, library.device.empty((4,), np.int32), *arguments) == "cudaErrorInvalidValue"
    with pytest.raises(KernelError, match=message):
        library.device.check()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("void cub::CUB_300001_SM_900::detail::radix_sort::DeviceRadixSortOnesweepKernel<int>(int)", True),
        ("void fastmrcnn::cuda::(anonymous namespace)::select<cub::KeyValuePair<int, int>>(int)", False),
        ("fastmrcnn::cuda::nms_mask(float4 const*, int)", False),
    ],
)
def test_only_kernels_of_cub_are_trusted(name: str, expected: bool) -> None:
    assert is_from_cub(name) is expected
