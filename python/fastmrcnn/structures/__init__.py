"""What travels between the stages: images on the way in, detections on the way out."""

from fastmrcnn.structures.detections import Detections
from fastmrcnn.structures.images import ImageSource, as_image_tensor, image_size, read_image
from fastmrcnn.structures.pages import ImagePage, image_pages
from fastmrcnn.structures.pixel_format import EVERY_CHANNEL, RGB, PixelFormat
from fastmrcnn.structures.soft_paste import paste_soft_masks

__all__ = [
    "EVERY_CHANNEL",
    "RGB",
    "Detections",
    "ImagePage",
    "ImageSource",
    "PixelFormat",
    "as_image_tensor",
    "image_pages",
    "image_size",
    "paste_soft_masks",
    "read_image",
]
