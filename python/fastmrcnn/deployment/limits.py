"""What a format cannot hold of a model: said before the work, in one line each."""

from __future__ import annotations

from fastmrcnn.deployment.export_config import Format, Inputs
from fastmrcnn.deployment.interface import capacity
from fastmrcnn.errors import UserError
from fastmrcnn.models.config import MaskRCNNConfig
from fastmrcnn.structures.pixel_format import DEEPEST


def check_exportable(config: MaskRCNNConfig, format: Format, inputs: Inputs) -> None:
    """Raise ``UserError`` where no file of this kind can compute what the model computes."""
    nms = "box" if config.box_head is None else config.box_head.nms
    if nms == "mask":
        raise UserError("export: masks are compared outside of the network: expected box_head.nms box; got mask")
    if nms != "box" and format == "onnx":
        raise UserError(f"export: ONNX has no soft-NMS: expected box_head.nms box; got {nms}")
    if inputs == "network":
        return
    if format == "aotinductor":
        raise UserError(
            "export: torch compiles no network whose input sizes the program works out itself (its convolutions come "
            f"out wrong): the format aotinductor takes --inputs network; got --inputs {inputs}"
        )
    if config.input.frame == "centred_square" or config.box_corners == "pixels":
        raise UserError(
            f"export: a model whose images lie in the middle of a square, or whose boxes are whole pixels "
            f"(Matterport's), is exported with --inputs network; got --inputs {inputs}"
        )
    if config.input.resampling == "zero_border" and format == "onnx":
        raise UserError(
            f"export: ONNX cannot resize with black beyond the image (Matterport's rule): "
            f"export with --inputs network; got --inputs {inputs}"
        )


def limits_of(config: MaskRCNNConfig, format: Format, inputs: Inputs) -> list[str]:
    """What users of the file should know, a line each."""
    limits = [f"at most {capacity(config)} detections an image, thresholds as they are in the model, float32"]
    if inputs == "uint8" and (config.input.channels != 3 or config.input.white_level != DEEPEST):
        limits.append("images of more than 8 bits need --inputs float32")
    if inputs == "network":
        limits.append(
            "normalising, resizing and padding, and bringing boxes back to the images, are left to the caller"
        )
    else:
        limits.append("all images of a batch have one size; for several in a batch take --inputs network")
        if config.input.resampling == "pil" and format == "onnx":
            limits.append("images are resized in float32: of Pillow's grey values some in a hundred are off by one")
    if config.mask_head is not None:
        limits.append("masks are maps within the boxes; pasting them into the image is left to the caller")
    if format == "onnx":
        limits.append("opset 18, checked in ONNX Runtime on the CPU alone; less than 2 GiB")
        if inputs != "network" and config.input.resampling == "antialias":
            limits.append("runtimes without an antialiasing Resize take --inputs network")
        return limits
    limits.append(
        "the process needs Python with fastmrcnn: `import fastmrcnn.deployment.detector` registers its operators; "
        "for C++ or others without Python take the format onnx"
    )
    if format == "aotinductor":  # torch takes a map that is one cell wide for another network
        limits.append(f"padded images are more than {config.feature_strides[-1]} pixels wide and high")
        limits.append("compiled for this machine's processor and this version of torch")
    return limits
