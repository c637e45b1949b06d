"""``fastmrcnn export``: a model as a file that other software runs, checked against the model."""

from __future__ import annotations

import copy
import importlib.util
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastmrcnn.deployment.agreement import Agreement, compare
from fastmrcnn.deployment.export_config import ExportConfig, Format, Inputs
from fastmrcnn.deployment.exported import ExportedModel, load_exported
from fastmrcnn.deployment.folding import fold_norms
from fastmrcnn.deployment.interface import Interface
from fastmrcnn.deployment.limits import check_exportable, limits_of
from fastmrcnn.deployment.optimized import OptimizedMaskRCNN
from fastmrcnn.deployment.samples import sample_images
from fastmrcnn.errors import UserError
from fastmrcnn.files import atomic_path, check_writable
from fastmrcnn.models import MaskRCNN, set_detection_options
from fastmrcnn.models.evaluation_mode import evaluation_mode
from fastmrcnn.structures import as_image_tensor
from fastmrcnn.weights import load_model

# What the check accepts: scores near a threshold may fall to either side by their last bits, and some rules of resizing
# come out a grey value off.
MOST_ALONE, MOST_BOX, MOST_SCORE, LEAST_MEAN_IOU = 0.05, 0.5, 0.02, 0.95
MOST_OF_ONNX = 2**31 - 2**20  # bytes of weights: its files are messages of at most 2 GiB
OLDEST_TORCH = (2, 6)  # the first that takes translations of operators; 2.13 and 2.15 are tested


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    path: Path
    interface: Interface
    seconds: float  # without the check
    agreement: Agreement | None  # of the file with the model; None where it was not checked


def export_file(config: ExportConfig, say: Callable[[str], None] = print) -> Exported:
    """:func:`export` with the options of the command; ``say`` gets the limits before the work begins."""
    assert config.inputs is not None  # set by ExportConfig
    _require_packages(config.format, config.check)
    check_writable(config.output)
    model = load_model(config.weights)
    if config.score_threshold is not None or config.max_detections is not None:
        if model.roi_heads is None:
            raise UserError(f"{config.weights}: score_threshold and max_detections need a box head; it has none")
        set_detection_options(model, score_threshold=config.score_threshold, max_detections=config.max_detections)
    check_exportable(model.config, config.format, config.inputs)
    for line in limits_of(model.config, config.format, config.inputs):
        say(f"limit:  {line}")
    images = None
    if config.check:
        named = [as_image_tensor(path, model.config.input.pixel_format) for path in config.check_images]
        images = named or sample_images(model.config.input.channels)
    return export(model, config.output, format=config.format, inputs=config.inputs, check_images=images)


def export(
    model: MaskRCNN,
    path: str | os.PathLike[str],
    *,
    format: Format = "onnx",
    inputs: Inputs = "uint8",
    check_images: Sequence[Tensor] | None = None,
) -> Exported:
    """Write ``model`` as a file that other software runs, for images of every size and number.

    Args:
        model: on any device, in any mode. The file is for the CPU, but for ONNX, which knows no device.
        path, format, inputs: as in :class:`ExportConfig`.
        check_images: [C, H, W] uint8, or float in 0..1: the file is run on them, and detects what the model detects
            before it takes its name. None: it is not run.

    Raises:
        UserError: the format cannot hold the model, a package is missing, or the file detects something else; an older
            file at ``path`` stays as it was then.

    >>> model = fastmrcnn.load_model("tiny")  # doctest: +SKIP
    >>> print(export(model, "model.onnx", check_images=[photograph]).agreement)  # doctest: +SKIP
    72 detections in 3 images: boxes within 3.1e-05 px (mean 6.3e-06), scores within 2e-07 (mean 4e-08), ...
    """
    from fastmrcnn.deployment import torch_program

    if isinstance(model, OptimizedMaskRCNN):
        raise UserError("export: expected the model as it was before fastmrcnn.optimize; got an OptimizedMaskRCNN")
    check_exportable(model.config, format, inputs)
    _require_packages(format, check_images is not None)
    check_writable(path)
    size = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    if format == "onnx" and size > MOST_OF_ONNX:
        raise UserError(
            f"export: expected weights of less than 2 GiB, as an ONNX file holds no more; got {size / 2**30:.1f} GiB, "
            "for the format torch-export"
        )
    interface, start = Interface(model.config, inputs), time.perf_counter()
    folded = copy.deepcopy(model).eval().to("cpu").requires_grad_(False)
    fold_norms(folded)
    program = torch_program.trace(folded, interface, compiled=format == "aotinductor")
    with atomic_path(path) as temporary:
        if format == "onnx":
            from fastmrcnn.deployment.onnx_file import write_onnx

            write_onnx(program, interface, temporary)
        elif format == "torch-export":
            torch_program.write_program(program, interface, temporary)
        else:
            torch_program.write_compiled(program, interface, temporary)
        seconds, agreement = time.perf_counter() - start, None
        if check_images is not None:
            agreement = _checked(model, load_exported(temporary), check_images, path)
    return Exported(Path(path), interface, seconds, agreement)


def _checked(
    model: MaskRCNN, exported: ExportedModel, images: Sequence[Tensor], path: str | os.PathLike[str]
) -> Agreement:
    """The agreement of the two on each image, and on the first together with its mirror image."""
    batches = [[image] for image in images] + [[images[0], images[0].flip(2)]]
    with evaluation_mode(model), torch.inference_mode():
        expected = [found.to("cpu") for batch in batches for found in model.detect(list(map(exported.as_input, batch)))]
        found = [found for batch in batches for found in exported.detect(batch)]
    agreement = compare(expected, found)
    few_alone = agreement.alone <= MOST_ALONE * 2 * max(agreement.detections, 1)
    same_masks = agreement.mask_iou_mean is None or agreement.mask_iou_mean >= LEAST_MEAN_IOU
    if not (few_alone and agreement.box <= MOST_BOX and agreement.score <= MOST_SCORE and same_masks):
        raise UserError(f"{path}: the exported file does not detect what the model detects: {agreement}")
    return agreement


def _require_packages(format: Format, check: bool) -> None:
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < OLDEST_TORCH:
        raise UserError(f"export: tracing for all sizes needs torch 2.6 or newer; this is {torch.__version__}")
    needed = {"onnx": ["onnx", "onnxscript", *(["onnxruntime"] if check else [])]}.get(format, [])
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"export: the format {format} needs {', '.join(missing)}: pip install {' '.join(missing)}")
