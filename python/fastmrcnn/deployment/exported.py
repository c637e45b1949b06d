"""Running exported files: the way of the check, and of whoever wants detections of them in Python."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fastmrcnn.deployment.interface import KEY, Interface
from fastmrcnn.errors import UserError, first_line
from fastmrcnn.models import PaddedInstances
from fastmrcnn.models.as_detections import as_detections
from fastmrcnn.models.box_frame import BoxFrame
from fastmrcnn.models.resampling import as_bytes
from fastmrcnn.models.transform import InputTransform
from fastmrcnn.structures import Detections, ImageSource, as_image_tensor

Run = Callable[..., Sequence[Tensor]]  # the inputs of the file -> its outputs


class ExportedModel:
    """An exported file, ready to run on the CPU.

    >>> model = load_exported("model.onnx")  # doctest: +SKIP
    >>> model.predict("street.jpg").names  # doctest: +SKIP
    ['person', 'dog']
    """

    def __init__(self, run: Run, interface: Interface) -> None:
        self.run = run
        self.interface = interface
        self.config = interface.config
        self._transform = InputTransform(self.config.input).eval()
        self._frame = BoxFrame.of(self.config)

    def predict(self, image: ImageSource) -> Detections:
        """The detections of one image, of any form that :meth:`MaskRCNN.predict` takes."""
        [found] = self.detect([as_image_tensor(image, self.config.input.pixel_format).detach().cpu()])
        return found

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """The detections of images [C, H, W] that go through the file together.

        They are of one size, unless the file takes the network's input.
        """
        if self.interface.inputs == "network":
            batch = self._transform(images)
            found = self._as_instances(self.run(batch.pixels, batch.image_sizes))
            found = self._frame.restore(found, batch)
        else:
            together = torch.stack([self.as_input(image) for image in images])
            found = self._as_instances(self.run(together))
        return as_detections(found, self.config, [(image.shape[1], image.shape[2]) for image in images], images)

    def as_input(self, image: Tensor) -> Tensor:
        """An image [C, H, W], uint8 or float in 0..1, in the dtype that the file takes."""
        if self.interface.inputs == "uint8":
            return as_bytes(image)
        return image.float() / 255 if image.dtype == torch.uint8 else image.float()

    def _as_instances(self, outputs: Sequence[Tensor]) -> PaddedInstances:
        ports = [port.name for port in self.interface.outputs_of_file]
        named = dict(zip(ports, outputs, strict=True))
        return PaddedInstances(
            named["boxes"],
            named["scores"],
            named["labels"] + 1,
            named["counts"],
            named.get("masks"),
            named.get("keypoints"),
        )


def load_exported(path: str | os.PathLike[str]) -> ExportedModel:
    """Open a file that ``fastmrcnn export`` wrote, of any format.

    Raises ``UserError``: no such file, one of another origin, or a package is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: expected a file of `fastmrcnn export`; there is no such file")
    try:
        if not zipfile.is_zipfile(path):
            return _load_onnx(path)
        with zipfile.ZipFile(path) as archive:
            compiled = any("/aotinductor/" in name for name in archive.namelist())
        return _load_compiled(path) if compiled else _load_program(path)
    except KeyError:
        raise UserError(f"{path}: expected a file of `fastmrcnn export`; it was written by other software") from None
    except UserError:
        raise
    except Exception as error:  # three runtimes, each with errors of its own
        raise UserError(f"{path}: cannot be opened: {first_line(error)}") from error


def _load_onnx(path: Path) -> ExportedModel:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: expected the package onnxruntime, which runs it: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        arrays = {name: values.numpy() for name, values in zip(names, inputs, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, arrays)]

    return ExportedModel(run, Interface.from_metadata(session.get_modelmeta().custom_metadata_map))


def _load_program(path: Path) -> ExportedModel:
    import fastmrcnn.deployment.detector  # noqa: F401  # registers the operator that resizes

    extra = {f"{KEY}.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    return ExportedModel(module, Interface.from_metadata(json.loads(extra[f"{KEY}.json"] or "{}")))


def _load_compiled(path: Path) -> ExportedModel:
    from fastmrcnn.deployment.detector import check_sides

    compiled = torch._inductor.aoti_load_package(str(path))
    interface = Interface.from_metadata(compiled.get_metadata())

    def run(pixels: Tensor, image_sizes: Tensor) -> Sequence[Tensor]:
        # The program looks, too, but what it says has passed through C++.
        check_sides(pixels, interface.config.input.size_divisor, interface.config.feature_strides[-1])
        outputs: Sequence[Tensor] = compiled(pixels, image_sizes)
        return outputs

    return ExportedModel(run, interface)
