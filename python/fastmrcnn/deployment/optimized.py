"""The model that ``fastmrcnn.optimize`` returns."""

from __future__ import annotations

import copy
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from fastmrcnn.deployment.graphs import GraphCache
from fastmrcnn.deployment.report import OptimizationReport
from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, PaddedInstances
from fastmrcnn.models.compiling import compile_trunk


class OptimizedMaskRCNN(MaskRCNN):
    """A copy of a model for inference alone, used like the model: ``predict``, a call with images, ``detect_batch``.

    It has no training mode, no losses and no weights to save or load: they are folded into others, rounded and packed
    for the machine at hand. It can be copied and pickled; what was compiled is compiled again in the copy, where there
    is a compiler.
    """

    report: OptimizationReport
    """What was done, and how far the results have moved."""

    def __init__(self, model: MaskRCNN) -> None:
        nn.Module.__init__(self)  # no network is built: the parts are those of the copy
        self.__dict__.update(copy.deepcopy(model).__dict__)
        self.precision = torch.float32  # of convolutions and linear layers
        self.compiled = False
        self.graphs: GraphCache | None = None
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> OptimizedMaskRCNN:
        """Evaluation mode; UserError for training mode."""
        if mode:
            _refuse("train")
        super().train(False)
        return self

    def losses(self, *arguments: Any, **options: Any) -> NoReturn:
        """UserError: weights in low precision, folded, have no losses worth looking at."""
        _refuse("losses")

    def losses_and_detections(self, *arguments: Any, **options: Any) -> NoReturn:
        """UserError, as :meth:`losses`."""
        _refuse("losses_and_detections")

    def state_dict(self, *arguments: Any, **options: Any) -> NoReturn:
        """UserError: whatever reads the weights would take them for a plain model's."""
        _refuse("state_dict")

    def load_state_dict(self, *arguments: Any, **options: Any) -> NoReturn:
        """UserError: the weights of a plain model do not fit."""
        _refuse("load_state_dict")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a copy or a pickle, from which torch leaves out what it has compiled."""
        super().__setstate__(state)
        if self.compiled:
            try:
                compile_trunk(self, self.transform.mean.device, dynamic=True)
            except UserError as error:
                self.compiled = False
                warnings.warn(f"detection runs uncompiled: {error}", stacklevel=2)

    def _apply(self, *arguments: Any, **options: Any) -> OptimizedMaskRCNN:
        """Of a move to another device or type, after which graphs would read memory that is no longer theirs."""
        if self.graphs is not None:
            self.graphs.forget()
        super()._apply(*arguments, **options)
        return self

    def detect_batch(self, pixels: Tensor, image_sizes: Tensor, *, packed: bool = False) -> PaddedInstances:
        """As :meth:`MaskRCNN.detect_batch`, by a CUDA graph where there is one for the size."""
        if self.graphs is not None and pixels.is_cuda and not torch.compiler.is_compiling():
            return self.graphs(pixels, image_sizes, settings=self.config)
        return self.detect_directly(pixels, image_sizes, packed=packed)

    def detect_directly(self, pixels: Tensor, image_sizes: Tensor, *, packed: bool = False) -> PaddedInstances:
        """:meth:`detect_batch` without graphs."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with self.in_precision(pixels.device):
            return super().detect_batch(pixels, image_sizes, packed=packed)

    def in_precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """Where convolutions and linear layers compute in ``precision``, and what needs float32 in float32."""
        if self.precision == torch.float32:
            return nullcontext()
        # Weights have their type already: nothing is worth keeping from call to call.
        return torch.autocast(device.type, dtype=self.precision, cache_enabled=False)


def _refuse(what: str) -> NoReturn:
    raise UserError(f"{what}: an optimised model only detects; train, save and convert the model that it was made from")
