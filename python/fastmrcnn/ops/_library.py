"""What every operator's module shares: the torch library, the native module and the eager fast path."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from fastmrcnn.ops import _forks  # noqa: F401  # what it does is done when it is imported

try:
    from fastmrcnn import _C as native
except ImportError as error:  # pragma: no cover - depends on a broken installation
    raise ImportError(
        "fastmrcnn's native extension fastmrcnn._C could not be imported "
        f"({error}); install it again: `pip install --force-reinstall --no-deps .` in its checkout"
    ) from error

__all__ = [
    "LIBRARY",
    "as_native_float",
    "context",
    "is_plain_eager",
    "native",
    "on_cuda",
    "refuse_tangent",
    "register_kernel",
    "workspace",
]

LIBRARY = torch.library.Library("fastmrcnn", "DEF")

# What the native module asks before it believes that nothing watches a call; each returns something false then.
_WATCHERS = (
    torch._C._len_torch_dispatch_stack,
    torch._C._len_torch_function_stack,
    torch._C._functorch.peek_interpreter_stack,
    torch._C._is_tracing,
)
native.introduce_torch(torch, _WATCHERS, vars(forward_ad))


def register_kernel(name: str, kernel: object) -> None:
    """Registers `kernel` for the devices that the native module serves (it refuses those it was not built for)."""
    LIBRARY.impl(name, kernel, "CPU")
    LIBRARY.impl(name, kernel, "CUDA")


def context(tensor: Tensor) -> tuple[int, int]:
    """The native `Context` of a call on `tensor`: number of CPU threads, address of the current CUDA stream."""
    if tensor.is_cuda:
        return 1, torch.cuda.current_stream(tensor.device).cuda_stream
    return torch.get_num_threads(), 0


CUDA_TYPES: tuple[str, ...] = ("cuda",)  # the tests' interpreter takes the CPU's tensors too


def on_cuda(tensor: Tensor) -> bool:
    """Whether an operator on `tensor` runs its CUDA kernel."""
    return tensor.device.type in CUDA_TYPES


def workspace(op: str, like: Tensor, *sizes: int) -> Tensor | None:
    """The memory that the CUDA kernel of `op` needs besides its outputs, `[bytes]` uint8; the CPU's needs none."""
    if not on_cuda(like):
        return None
    size: Callable[..., int] | None = getattr(native, f"{op}_workspace", None)
    # Without one the build has no CUDA kernels, which the call that follows says better.
    return None if size is None else torch.empty(size(*sizes), dtype=torch.uint8, device=like.device)


def is_plain_eager(*tensors: Tensor) -> bool:
    """True when nothing watches the call: ordinary tensors, no compiler, no tracer, no mode, no functorch transform.

    Ordinary tensors are of torch's own types, and their memory holds their values: that of a meta tensor or of a
    negated view does not.

    The dispatcher and `register_autograd` cost more than a small kernel, so the public functions skip them then.
    """
    return not torch.compiler.is_compiling() and native.is_plain(*tensors)


def as_native_float(tensor: Tensor) -> Tensor:
    """`tensor` in a dtype that the CPU kernels compute in: float64 stays, everything else becomes float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def refuse_tangent(op: str, tensor: Tensor) -> None:
    """Raises where forward-mode differentiation asks for a derivative that the operator lacks.

    torch's dispatcher would drop the tangent without a word.
    """
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return
    if forward_ad.unpack_dual(tensor).tangent is not None:
        raise NotImplementedError(f"{op}: has no forward-mode derivative; use reverse mode (backward, torch.autograd)")
