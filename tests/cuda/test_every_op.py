"""Every operator that the CPU has runs on CUDA, with the CPU's results."""

from __future__ import annotations

import pytest

from fastmrcnn import _C
from tests.cuda.every_op import Call, calls
from tests.cuda.run import Interpreted, TestDevice, assert_alike

# Host data in, host data out: annotations as they are read from files.
ANNOTATIONS = {"format_rle", "mask_transitions", "parse_rle"}
# Convolutions, which CUDA's own library has.
WINOGRAD = {"winograd_convolution", "winograd_gradient", "winograd_input", "winograd_output"}
CALLS = dict(calls())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_gives_the_result_of_the_cpu(call: Call, device: TestDevice) -> None:
    function, arguments = call
    assert_alike(device.run(function, *arguments), function(*arguments))


def test_every_native_operator_has_a_cuda_kernel(interpreted: Interpreted) -> None:
    module = interpreted.module
    helpers = {"allow_direct_calls", "cuda_info", "introduce_torch", "is_plain", "isa", "thread_backend"}
    functions = {name for name in dir(_C) if callable(getattr(_C, name)) and not name.startswith(("_", "direct_"))}
    operators = {name for name in functions - helpers if not name.endswith("_workspace")}
    assert set(module.cuda_kernels) == operators - ANNOTATIONS - WINOGRAD
