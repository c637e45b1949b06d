"""torch.compile of the trunk: backbone, feature pyramid and the head of the region proposals.

These take most of a step's time and their shapes follow from the image's alone; what comes after depends on how many
objects and proposals there are.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import torch
from torch import nn

from fastmrcnn.errors import UserError
from fastmrcnn.models.mask_rcnn import MaskRCNN

# Where torch looks for one, too.
_COMPILERS = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")


def compile_trunk(
    model: MaskRCNN, device: torch.device, *, backend: str = "inductor", dynamic: bool | None = None
) -> None:
    """Let torch compile the trunk of ``model`` in place, when it is first called with images of a new kind.

    Parameters, their names and the checkpoints stay the same. Results differ by rounding. dynamic: for all sizes of
    images at once; None: for the first size, and at the second for all.

    Raises:
        UserError: there is nothing to compile with.
    """
    check_compiler(device)
    for part in trunk(model):
        part.compile(backend=backend, dynamic=dynamic)


def leave_uncompiled(model: MaskRCNN) -> None:
    """Undo :func:`compile_trunk`."""
    for part in trunk(model):
        part._compiled_call_impl = None


def trunk(model: MaskRCNN) -> list[nn.Module]:
    """The parts that are compiled, each for itself."""
    parts = (model.backbone, model.fpn, model.rpn.head)
    return [part for part in parts if part is not None]


def check_compiler(device: torch.device) -> None:
    """``UserError`` where torch could not compile for ``device``; torch would say so within the first step."""
    named = os.environ.get("CXX")
    if not any(shutil.which(compiler) for compiler in ([named] if named else _COMPILERS)):
        wanted = (
            f"the C++ compiler that CXX names, {named}," if named else f"a C++ compiler ({' or '.join(_COMPILERS)})"
        )
        raise UserError(f"compile: expected {wanted} on the PATH; there is none")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError("compile: expected the package triton, which torch compiles for GPUs with; there is none")


def _compile_in_child() -> None:
    """Give a forked child threads of its own to compile in: torch would wait there for those of its parent."""
    module = sys.modules.get("torch._inductor.async_compile")
    if module is not None:
        module.AsyncCompile.pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compile_in_child)
