"""A model as a program of torch: traced once for all sizes, written as it is or compiled."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from fastmrcnn.deployment.detector import ImageDetector, NetworkDetector
from fastmrcnn.deployment.interface import KEY, Interface
from fastmrcnn.errors import UserError, first_line
from fastmrcnn.models import MaskRCNN

_METADATA = f"{KEY}.json"  # the file in an archive of torch.export


def trace(model: MaskRCNN, interface: Interface, *, compiled: bool = False) -> torch.export.ExportedProgram:
    """The detector of the model as one graph for images of every size and number.

    compiled: for :func:`write_compiled`.

    Raises ``UserError`` where this torch cannot trace it.
    """
    batch, channels = Dim("batch", min=1), interface.config.input.channels
    # Two images of unequal sides: sizes that are one, or equal, are taken for constants.
    if interface.inputs == "network":
        divisor = interface.config.input.size_divisor
        # The compiler must know, where nobody else may: sizes are checked by the program itself.
        height, width = ((divisor if compiled else 1) * Dim(f"{side}_in_steps", min=1) for side in ("height", "width"))
        detector: nn.Module = NetworkDetector(model, compiled=compiled)
        pixels = torch.zeros(2, channels, divisor * -(-128 // divisor), divisor * -(-192 // divisor))
        inputs: tuple[Tensor, ...] = (pixels, torch.tensor([[100, 180], [128, 190]]))
        sizes: tuple[dict[int, Any], ...] = ({0: batch, 2: height, 3: width}, {0: batch})
    else:
        detector = ImageDetector(model)
        dtype = torch.uint8 if interface.inputs == "uint8" else torch.float32
        inputs = (torch.zeros(2, channels, 96, 128, dtype=dtype),)
        sizes = ({0: batch, 2: Dim("height", min=1), 3: Dim("width", min=1)},)
    try:
        # What cannot be traced is printed as a program, of thousands of lines.
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return torch.export.export(detector, inputs, dynamic_shapes=sizes, strict=False)
    except Exception as error:  # torch's tracers raise of everything
        raise UserError(f"export: torch {torch.__version__} cannot trace this model: {first_line(error)}") from error


def write_program(program: torch.export.ExportedProgram, interface: Interface, path: Path) -> None:
    """Write what ``torch.export.load`` reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about weights that share their memory
        torch.export.save(program, path, extra_files={_METADATA: json.dumps(interface.as_metadata())})


def write_compiled(program: torch.export.ExportedProgram, interface: Interface, path: Path) -> None:
    """Compile for this kind of machine, and write what ``torch._inductor.aoti_load_package`` reads.

    Raises ``UserError`` where the compiler is missing or fails.
    """
    from torch import _inductor

    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise UserError("export: the format aotinductor needs a C++ compiler, g++ or clang++; found neither")
    options = {"aot_inductor.metadata": interface.as_metadata()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)
