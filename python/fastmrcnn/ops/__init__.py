"""Mask R-CNN's operators under torchvision's names and signatures, and those that it lacks.

Needs torch and numpy only. Every function works on CPU tensors, takes part in autograd where it is differentiable, and
traces under `torch.compile` and `torch.export`.
"""

from fastmrcnn.ops.nms import batched_nms, nms

__all__ = [
    "batched_nms",
    "nms",
]
