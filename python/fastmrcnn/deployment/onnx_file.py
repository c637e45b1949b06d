"""A model as an ONNX file of standard operators."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import optimizer

import fastmrcnn
from fastmrcnn.deployment import onnx_boxes, onnx_images, onnx_keypoints, onnx_pooling
from fastmrcnn.deployment.interface import Interface
from fastmrcnn.deployment.onnx_values import OPSET
from fastmrcnn.errors import UserError, first_line


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Our operators, and what stands for them in ONNX."""
    ops, own = torch.ops.fastmrcnn, torch.ops.fastmrcnn_deployment
    return {
        own.fit_images.default: onnx_images.fit_images,
        own.of_any_size.default: onnx_images.of_any_size,
        ops.generate_anchors.default: onnx_boxes.generate_anchors,
        ops.generate_proposals.default: onnx_boxes.generate_proposals,
        ops.multiscale_roi_align.default: onnx_pooling.multiscale_roi_align,
        ops.roi_align.default: onnx_pooling.roi_align,
        ops.roi_pool.default: onnx_pooling.roi_pool,
        ops.assign_levels.default: onnx_pooling.assign_levels,
        ops.select_detections.default: onnx_boxes.select_detections,
        ops.decode_keypoints.default: onnx_keypoints.decode_keypoints,
    }


def write_onnx(program: torch.export.ExportedProgram, interface: Interface, path: Path) -> None:
    """Write a traced detector (:func:`.torch_program.trace`) to ``path``."""
    inputs, outputs = ([port.name for port in ports] for ports in (interface.inputs_of_file, interface.outputs_of_file))
    model = translate(program, inputs, outputs)
    _describe(model, interface)
    onnx.checker.check_model(model)
    onnx.save(model, os.fspath(path))


def translate(program: torch.export.ExportedProgram, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """A traced program, which may call our operators, in ONNX's standard operators.

    Raises ``UserError`` where it calls an operator that nothing stands for.
    """
    with _quiet():
        try:
            written = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table=translations(),
                input_names=inputs,
                output_names=outputs,
                optimize=False,  # which would do the following twice, in as much time as all the rest takes
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = first_line(error.__cause__ or error)
            raise UserError(f"export: torch {torch.__version__} cannot translate this model: {reason}") from error
        assert written is not None
        optimizer.optimize(written.model, num_iterations=1)
    return written.model_proto


def _describe(model: onnx.ModelProto, interface: Interface) -> None:
    """Give inputs and outputs the names of their sizes and their meanings, and the file its metadata."""
    del model.graph.value_info[:]  # sizes in the middle of the graph, in the tracer's own names
    for values, ports in (
        (model.graph.input, interface.inputs_of_file),
        (model.graph.output, interface.outputs_of_file),
    ):
        for value, port in zip(values, ports, strict=True):
            value.doc_string = port.meaning
            for dimension, size in zip(value.type.tensor_type.shape.dim, port.shape, strict=True):
                if isinstance(size, str):
                    dimension.dim_param = size
                else:
                    dimension.dim_value = size
    onnx.helper.set_model_props(model, interface.as_metadata())
    model.producer_name, model.producer_version = "fastmrcnn", fastmrcnn.__version__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says to its own authors."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
