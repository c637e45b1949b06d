"""Differentiable operators: a kernel and its derivative, registered with torch, callable without its dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, native, refuse_tangent, register_kernel

__all__ = ["differentiable"]


def differentiable(
    name: str,
    kernel: Callable[..., Any],
    direct: Callable[..., Any],
    setup_context: Callable[[Any, tuple[Any, ...], Any], None],
    backward: Callable[..., tuple[Tensor | None, ...]],
) -> Callable[..., Any]:
    """Registers the kernel and the derivative of an operator that `LIBRARY` has defined, and returns its caller.

    Args:
        name: of the operator.
        kernel: computes it from its positional arguments, without regard to autograd.
        direct: the native module's direct call of it, which does the same or returns None.
        setup_context, backward: as `torch.autograd.Function` and `torch.library.register_autograd` both take them.
            The gradient is with respect to the first argument.

    Returns:
        A function of the operator's positional arguments. In plain eager mode it skips the dispatcher, which would cost
        more than a small kernel; under compilers, tracers, modes and transforms it calls the registered operator.
    """
    register_kernel(name, kernel)
    torch.library.register_autograd(f"fastmrcnn::{name}", backward, setup_context=setup_context, lib=LIBRARY)
    operator = getattr(torch.ops.fastmrcnn, name).default

    # torch inspects the signature of a Function with a setup_context of its own at each call, which takes 100 us.
    def forward(ctx: Any, *arguments: Any) -> Any:
        output = direct(*arguments)
        if output is None:
            output = kernel(*arguments)
        setup_context(ctx, arguments, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    eager = type(name, (torch.autograd.Function,), members)

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_compiling():
            return operator(*arguments)
        if (output := direct(*arguments)) is not None:
            return output
        if not native.is_plain(*arguments):
            refuse_tangent(name, arguments[0])
            return operator(*arguments)
        if arguments[0].requires_grad and torch.is_grad_enabled():
            return eager.apply(*arguments)  # type: ignore[attr-defined]
        return kernel(*arguments)

    return call
