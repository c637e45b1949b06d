"""The devices on which every test of the CUDA kernels runs: the interpreter where nvcc is, and a GPU where one is."""

from __future__ import annotations

import os

import pytest
import torch

from fastmrcnn import _C
from tests.cuda import build
from tests.cuda.run import Gpu, Interpreted, TestDevice


@pytest.fixture(scope="session")
def nvcc() -> None:
    """Skips what has to be compiled to be interpreted where that cannot be, unless FASTMRCNN_INTERPRETED=ON says that
    it must (CI)."""
    if os.environ.get("FASTMRCNN_INTERPRETED") == "OFF":
        pytest.skip("FASTMRCNN_INTERPRETED=OFF")
    if (problem := build.why_not()) is not None:
        assert os.environ.get("FASTMRCNN_INTERPRETED") != "ON", problem
        pytest.skip(f"the CUDA kernels cannot be built for the interpreter: {problem}")


@pytest.fixture(scope="session")
def interpreted(nvcc: None) -> Interpreted:
    """The interpreter."""
    from tests.cuda.interpreter import Device

    path = build.build()
    return Interpreted(build.load(path), Device(path))


def why_no_gpu() -> str | None:
    if not _C.cuda_info()["built"]:
        return "this build has no CUDA kernels"
    if not torch.version.cuda:
        return "torch has no CUDA"
    return None if torch.cuda.is_available() else "no GPU"


@pytest.fixture(params=["interpreted", "gpu"])
def device(request: pytest.FixtureRequest) -> TestDevice:
    if request.param == "interpreted":
        return request.getfixturevalue("interpreted")
    if (problem := why_no_gpu()) is not None:
        pytest.skip(problem)
    return Gpu()
