"""What this installation is made of, and what it runs on."""

from __future__ import annotations

import platform

import numpy
import torch

import fastmrcnn
from fastmrcnn import _C


def environment() -> dict[str, str]:
    """What a bug report should say, one line each."""
    cuda = _C.cuda_info()
    if cuda["built"]:
        toolkit = f"{cuda['toolkit_version'] // 1000}.{cuda['toolkit_version'] % 1000 // 10}"
        state = f"built with CUDA {toolkit} for {cuda['architectures']}; {cuda['device_count']} usable devices"
        state += f" ({cuda['problem']})" if cuda["problem"] else ""
    else:
        state = cuda["problem"]
    return {
        "fastmrcnn": fastmrcnn.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "instruction set": _C.isa(),
        "threads": f"{torch.get_num_threads()} ({_C.thread_backend()} pool)",
        "native CUDA": state,
        "torch CUDA": torch.version.cuda or "not built with CUDA",
    }
