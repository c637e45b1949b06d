"""What travels between the stages: images on the way in, detections on the way out."""

from fastmrcnn.structures.detections import Detections
from fastmrcnn.structures.images import ImageSource, as_image_tensor, read_image
from fastmrcnn.structures.pixel_format import EVERY_CHANNEL, RGB, PixelFormat
from fastmrcnn.structures.soft_paste import paste_soft_masks

__all__ = [
    "EVERY_CHANNEL",
    "RGB",
    "Detections",
    "ImageSource",
    "PixelFormat",
    "as_image_tensor",
    "paste_soft_masks",
    "read_image",
]
