"""``fastmrcnn.optimize``: what makes a model as fast as the machine allows, step by step."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from fastmrcnn.deployment.agreement import compare
from fastmrcnn.deployment.folding import fold_norms
from fastmrcnn.deployment.graphs import GraphCache
from fastmrcnn.deployment.optimized import OptimizedMaskRCNN
from fastmrcnn.deployment.precision import Overflow, Precision, choose_precision, lower_weights
from fastmrcnn.deployment.report import OptimizationReport, Step
from fastmrcnn.deployment.samples import noise, sample_image
from fastmrcnn.errors import UserError, first_line
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.blocks import ConvNorm, is_3x3
from fastmrcnn.models.compiling import check_compiler, compile_trunk, leave_uncompiled
from fastmrcnn.models.predict import is_single_image
from fastmrcnn.ops.fused_convolution import FusedConv2d, fusion_problem
from fastmrcnn.ops.winograd import WinogradConv2d, suits_winograd
from fastmrcnn.structures import ImageSource, as_image_tensor

MIB = 2**20
_log = logging.getLogger(__name__)


def optimize(
    model: MaskRCNN,
    *,
    precision: Precision = "auto",
    compile: bool | None = None,
    graphs: int = 8,
    sample: ImageSource | Iterable[ImageSource] | None = None,
) -> OptimizedMaskRCNN:
    """A copy of ``model`` that detects as fast as the machine at hand allows; ``model`` stays as it is.

    Batch norms are folded into convolutions, maps are channels-last, convolutions and linear layers compute in the best
    precision that the machine has in hardware; in float32 on a CPU rectifiers and sums are fused into the convolutions
    before them, of which those of 3x3 are computed by Winograd's filtering; torch compiles the trunk, and CUDA graphs
    replay images of a size that comes again. A step that is not possible is left out, and ``report`` of the copy says
    why.

    Args:
        model: on the device that it will run on, in any mode.
        precision: "auto", "float32", "bfloat16" or "float16", see :func:`.precision.choose_precision`.
        compile: let torch compile backbone, feature pyramid and the head of the region proposals, which takes a minute
            when images first come. None: where that pays, which is on a GPU and in low precision.
        graphs: sizes of padded images whose CUDA graphs are kept at a time; 0: none.
        sample: images to measure the deviation from ``model`` on, whatever :meth:`MaskRCNN.predict` takes; the default
            is the photograph that comes with the package. Without any, ``[]``, nothing is measured.

    Returns:
        The copy; ``print(optimized.report)`` shows what was done, which is logged too, at level INFO.

    Raises:
        ValueError: an unknown precision, or a number of graphs below 0. UserError: a sample that is no image, a model
            that is optimised already.

    >>> import fastmrcnn
    >>> fast = fastmrcnn.optimize(fastmrcnn.load_model("tiny"), sample=[])
    >>> fast.report.step("channels-last").done
    True
    """
    if not isinstance(model, MaskRCNN):
        raise UserError(f"optimize: expected a MaskRCNN, as load_model gives; got {type(model).__name__}")
    if isinstance(model, OptimizedMaskRCNN):
        raise UserError("optimize: expected a plain model; this one is optimised already")
    if graphs < 0:
        raise ValueError(f"optimize: graphs must be at least 0; got {graphs}")
    device = model.transform.mean.device
    dtype, why = choose_precision(precision, device)
    images = _images(model, sample)
    expected = model.predict(images)
    optimized = OptimizedMaskRCNN(model)
    proof = [image.to(device) for image in images[:1]] or [noise(model.config.input.channels, (64, 96)).to(device)]
    with torch.no_grad():
        steps = (
            _fold(optimized),
            _lay_out(optimized),
            _lower(optimized, dtype, why, proof),
            _filter(optimized, device),
            _fuse(optimized, device),
            _compile(optimized, device, compile, proof),
            _record(optimized, device, graphs, proof),
        )
    deviation = compare(expected, optimized.predict(images)) if images else None
    optimized.report = OptimizationReport(steps, deviation)
    for line in str(optimized.report).splitlines():
        _log.info("%s", line)
    return optimized


def _fold(model: OptimizedMaskRCNN) -> Step:
    folded, left = fold_norms(model)
    if folded == 0:
        why = "there are none" if left == 0 else f"the {left} norms take their statistics from each image"
        return Step("batch norms", False, why)
    rest = f"; {left} norms take their statistics from each image" if left else ""
    return Step("batch norms", True, f"{folded} folded into the layers before them{rest}")


def _lay_out(model: OptimizedMaskRCNN) -> Step:
    before = "as they were" if model.config.channels_last else "channels-first before"
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stubs
    if model.roi_heads is not None:
        model.roi_heads.box_head.read_channels_last()
    return Step("channels-last", True, f"maps and weights, {before}")


def _lower(model: OptimizedMaskRCNN, dtype: torch.dtype, why: str, proof: Sequence[Tensor]) -> Step:
    """Use ``dtype``, or bfloat16 where float16 overflows, or float32, whichever the proof comes out finite in."""
    name = "precision"
    problems: list[str] = []
    for candidate in dict.fromkeys((dtype, *([torch.bfloat16] if dtype == torch.float16 else []))):
        if candidate == torch.float32:
            break
        model.precision = candidate
        problem = _overflow(model, proof)
        if problem is None:
            layers = lower_weights(model, candidate)
            instead = f"; {'; '.join(problems)}" if problems else ""
            chosen = why if candidate == dtype else _name(candidate)
            return Step(name, True, f"{chosen}: {layers} layers{instead}")
        problems.append(f"{_name(candidate)} is not possible: {problem}")
    model.precision = torch.float32
    return Step(name, not problems, "; ".join([*problems, "float32"]) if problems else why)


def _overflow(model: OptimizedMaskRCNN, proof: Sequence[Tensor]) -> str | None:
    """Why some layer's output does not come out in the model's precision; None where all do."""
    overflow = Overflow(model.precision)
    try:
        with overflow:
            _detect(model, proof)
    except RuntimeError as error:
        return first_line(error)
    return "features exceed its range" if overflow.seen() else None


def _filter(model: OptimizedMaskRCNN, device: torch.device) -> Step:
    name = "Winograd"
    if device.type != "cpu" or model.precision != torch.float32:
        return Step(name, False, f"convolutions of {_name(model.precision)} on the {device.type.upper()} are torch's")
    layers = []
    for parent in list(model.modules()):
        for key, layer in list(parent.named_children()):
            if type(layer) is nn.Conv2d and is_3x3(layer) and suits_winograd(layer):
                layers.append(WinogradConv2d(layer))
                setattr(parent, key, layers[-1])
    if not layers:
        return Step(name, False, "there are no 3x3 convolutions of 64 or more channels")
    memory = sum(layer.transformed_bytes for layer in layers) / MIB
    return Step(name, True, f"{len(layers)} 3x3 convolutions, up to {memory:.0f} MiB more of weights")


def _fuse(model: OptimizedMaskRCNN, device: torch.device) -> Step:
    name = "fusion"
    if device.type != "cpu" or model.precision != torch.float32:
        return Step(name, False, f"convolutions of {_name(model.precision)} on the {device.type.upper()} are torch's")
    problem = fusion_problem()
    if problem is not None:
        return Step(name, False, problem)
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, ConvNorm) and type(layer.conv) is nn.Conv2d and isinstance(layer.norm, nn.Identity)
    ]
    for layer in layers:
        layer.conv = FusedConv2d(layer.conv)
    model.rpn.head.join_predictors()
    fused = f"{len(layers)} convolutions with the rectifier or the sum that follows"
    return Step(name, True, f"{fused}; both predictions of the RPN in one")


def _compile(model: OptimizedMaskRCNN, device: torch.device, wanted: bool | None, proof: Sequence[Tensor]) -> Step:
    name = "compilation"
    if wanted is None and device.type == "cpu" and model.precision == torch.float32:
        return Step(name, False, "in float32 on a CPU little is left to fuse (compile=True compiles nevertheless)")
    if wanted is False:
        return Step(name, False, "not wanted")
    try:
        check_compiler(device)
        for layer in model.modules():
            if isinstance(layer, WinogradConv2d):
                layer.transformed_weights()
        compile_trunk(model, device, dynamic=True)
        _detect(model, proof)
    except Exception as error:  # of torch's compiler, of whatever kind: the model runs without it
        leave_uncompiled(model)
        return Step(name, False, first_line(error))
    model.compiled = True
    return Step(name, True, "backbone, feature pyramid and head of the proposals, for images of all sizes")


def _record(model: OptimizedMaskRCNN, device: torch.device, graphs: int, proof: Sequence[Tensor]) -> Step:
    name = "CUDA graphs"
    if device.type != "cuda":
        return Step(name, False, "the model is not on a GPU")
    if graphs == 0:
        return Step(name, False, "not wanted")
    model.graphs = GraphCache(model.detect_directly, graphs)
    for _ in range(2):  # a size is recorded when it comes again
        _detect(model, proof)
    if model.graphs.problem is not None:
        problem, model.graphs = model.graphs.problem, None
        return Step(name, False, problem)
    return Step(name, True, f"of the {graphs} sizes of padded images used last, from the second time that one comes")


def _detect(model: OptimizedMaskRCNN, proof: Sequence[Tensor]) -> None:
    """As ``predict`` does: what is compiled or recorded is meant for that."""
    with torch.inference_mode():
        model.detect(proof)


def _images(model: MaskRCNN, sample: ImageSource | Iterable[ImageSource] | None) -> list[Tensor]:
    """The sample as images [C, H, W] on the host."""
    if sample is None:
        return [sample_image(model.config.input.channels)]
    sources = [sample] if is_single_image(sample) else sample
    pixel_format = model.config.input.pixel_format
    return [as_image_tensor(source, pixel_format) for source in cast(Iterable[ImageSource], sources)]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
