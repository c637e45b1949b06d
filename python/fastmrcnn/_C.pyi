"""Native operators. Tensors are torch tensors or numpy arrays; a context is (CPU threads, CUDA stream address)."""

from typing import Any

Tensor = Any
Context = tuple[int, int]

def isa() -> str: ...
def thread_backend() -> str: ...
def cuda_info() -> dict[str, Any]: ...
def nms(
    context: Context,
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    iou_threshold: float,
    keep: Tensor,
    count: Tensor,
) -> None: ...
