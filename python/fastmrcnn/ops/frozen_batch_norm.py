"""Batch normalisation with fixed statistics and fixed affine parameters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FrozenBatchNorm2d"]


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and affine parameters are buffers that no optimiser moves.

    Its state_dict is that of `torch.nn.BatchNorm2d`, whose `num_batches_tracked` is accepted and ignored.

    Args:
        num_features: number of channels C of the input `[N, C, H, W]`.
        eps: added to the variance. torchvision's first COCO weights need 0.

    Example:
        >>> FrozenBatchNorm2d(8)(torch.ones(1, 8, 2, 2)).shape
        torch.Size([1, 8, 2, 2])
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The same map as `x * scale + shift`, both `[C]`: what folding into a convolution needs."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W] in the dtype of x."""
        if x.dtype != self.weight.dtype:  # of autocast: read, computed and rounded in one pass
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        scale, shift = self.scale_and_shift()
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

    def overwrite(self, x: Tensor) -> Tensor:
        """The same, in the memory of x where that can be; for one that nobody reads again, its gradient neither."""
        if x.dtype != self.weight.dtype:
            return self.forward(x)
        scale, shift = self.scale_and_shift()
        return x.mul_(scale.reshape(1, -1, 1, 1)).add_(shift.reshape(1, -1, 1, 1))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight.shape[0]}, eps={self.eps})"
