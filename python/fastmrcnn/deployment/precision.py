"""Which precision a machine computes fastest in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Precision = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_CPU_FLAGS = Path("/proc/cpuinfo")
_BF16_FLAGS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512-BF16"}
_TENSOR_CORES = (7, 0)  # the first generation of GPUs that multiplies matrices of float16 faster


def choose_precision(wanted: Precision, device: torch.device) -> tuple[torch.dtype, str]:
    """The type that convolutions and linear layers shall compute in on ``device``, and why.

    "auto" is float16 on GPUs with tensor cores, bfloat16 on CPUs that multiply matrices of it in hardware, and float32
    elsewhere.

    Raises:
        ValueError: an unknown precision.
    """
    if wanted != "auto" and wanted not in DTYPES:
        raise ValueError(f"precision must be auto, {', '.join(DTYPES)}; got {wanted!r}")
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if wanted == "auto":
            wanted = "float16" if capability >= _TENSOR_CORES else "float32"
        about = f"on a GPU of compute capability {capability[0]}.{capability[1]}"
        return DTYPES[wanted], f"{wanted}, {about}"
    hardware = cpu_bfloat16()
    if wanted == "auto":
        if hardware is not None:
            return torch.bfloat16, f"bfloat16, which this CPU has {hardware} for"
        return torch.float32, "float32: this CPU has neither AMX nor AVX-512-BF16"
    emulated = wanted == "float16" or (wanted == "bfloat16" and hardware is None)
    return DTYPES[wanted], f"{wanted}, as asked for" + (", which this CPU may have to emulate, slowly" * emulated)


def cpu_bfloat16() -> str | None:
    """The instruction set in which this CPU multiplies matrices of bfloat16; None where it has none.

    As the system lists it, unless oneDNN, which torch's convolutions are, is told to leave it (``ONEDNN_MAX_CPU_ISA``).
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    if limit not in ("", "DEFAULT", "ALL") and not ("AMX" in limit or "BF16" in limit):
        return None
    try:
        flags = _CPU_FLAGS.read_text(encoding="utf-8").split()
    except OSError:
        return None
    return next((name for flag, name in _BF16_FLAGS.items() if flag in flags), None)


class Overflow(TorchDispatchMode):
    """Watches, within its block, for results of a type that are infinite or no numbers: of heads as of the trunk."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._finite: list[Tensor] = []  # on the device: nobody waits

    def seen(self) -> bool:
        """Whether there were any."""
        return not all(map(bool, self._finite))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype == self._dtype:
            self._finite.append(result.isfinite().all())
        return result


def lower_weights(model: nn.Module, dtype: torch.dtype) -> int:
    """Store the weights of convolutions and linear layers in ``dtype``, in place; returns how many layers there are.

    Autocast would cast them at every call.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    for layer in layers:
        layer.to(dtype)
    return len(layers)
