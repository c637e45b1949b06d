"""What every operator's module shares: the torch library, the native module and the eager fast path."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    from fastmrcnn import _C as native
except ImportError as error:  # pragma: no cover - depends on a broken installation
    raise ImportError(
        "fastmrcnn's native extension fastmrcnn._C could not be imported "
        f"({error}); reinstall with `pip install --force-reinstall fastmrcnn`, or from a checkout `pip install .`"
    ) from error

__all__ = ["LIBRARY", "as_native_float", "context", "is_plain_eager", "native", "register_kernel"]

LIBRARY = torch.library.Library("fastmrcnn", "DEF")


def register_kernel(name: str, kernel: object) -> None:
    """Registers `kernel` for the devices that the native module serves (it refuses those it was not built for)."""
    LIBRARY.impl(name, kernel, "CPU")
    LIBRARY.impl(name, kernel, "CUDA")


def context(tensor: Tensor) -> tuple[int, int]:
    """The native `Context` of a call on `tensor`: number of CPU threads, address of the current CUDA stream."""
    if tensor.is_cuda:
        return 1, torch.cuda.current_stream(tensor.device).cuda_stream
    return torch.get_num_threads(), 0


def is_plain_eager(*tensors: Tensor) -> bool:
    """True when nothing watches the call: ordinary tensors, no compiler, no tracer, no mode, no functorch transform.

    The dispatcher and `register_autograd` cost more than a small kernel, so the public functions skip them then.
    """
    return (
        not torch.compiler.is_compiling()
        and all(type(tensor) is Tensor or type(tensor) is torch.nn.Parameter for tensor in tensors)
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and torch._C._functorch.peek_interpreter_stack() is None
        and not torch._C._is_tracing()
    )


def as_native_float(tensor: Tensor) -> Tensor:
    """`tensor` in a dtype that the CPU kernels compute in: float64 stays, everything else becomes float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
