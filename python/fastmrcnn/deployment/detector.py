"""What is exported: from images, or from the network's input, to detections in slots of a fixed number."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, PaddedInstances
from fastmrcnn.models.config import InputConfig
from fastmrcnn.models.plain import from_plain, to_plain
from fastmrcnn.models.transform import InputTransform

_LIBRARY = torch.library.Library("fastmrcnn_deployment", "DEF")
# Normalising, resizing and padding as one operator, for the sizes of its outputs take roundings that no tracer follows.
_LIBRARY.define("fit_images(Tensor images, str config) -> (Tensor pixels, Tensor image_sizes, Tensor scales)")
# A copy whose height and width are any multiples of the divisor to a tracer, which takes maps of one cell for another
# network than those of several where it can tell.
_LIBRARY.define("of_any_size(Tensor pixels, int divisor) -> Tensor")
# A copy of the sizes, after a look at the pixels that they are of.
_LIBRARY.define("check_frame(Tensor image_sizes, Tensor pixels, int divisor, int least) -> Tensor")


def config_of(text: str) -> InputConfig:
    """What ``fit_images`` gets as text."""
    config: InputConfig = from_plain(InputConfig, json.loads(text))
    return config


def _fit_images(images: Tensor, config: str) -> tuple[Tensor, Tensor, Tensor]:
    """[B, C, H, W] uint8, or float in 0..1, to the network's input, the sizes of the images in it, [B, 2], and the
    factors that bring boxes back, [1, 1, 4]."""
    transform = InputTransform(config_of(config)).eval().to(images.device)
    batch = transform(list(images))
    height, width = batch.sizes[0]
    scales = torch.tensor([images.shape[3] / width, images.shape[2] / height] * 2, dtype=torch.float32)
    return batch.pixels, batch.image_sizes, scales.to(images.device)[None, None]


_LIBRARY.impl("fit_images", _fit_images, "CompositeExplicitAutograd")


@torch.library.register_fake("fastmrcnn_deployment::fit_images", lib=_LIBRARY)
def _fit_images_fake(images: Tensor, config: str) -> tuple[Tensor, Tensor, Tensor]:
    return (
        _frames(images, config_of(config).size_divisor),
        images.new_empty((images.shape[0], 2), dtype=torch.int64),
        images.new_empty((1, 1, 4), dtype=torch.float32),
    )


def _of_any_size(pixels: Tensor, divisor: int) -> Tensor:
    check_sides(pixels, divisor)
    return pixels.clone()


_LIBRARY.impl("of_any_size", _of_any_size, "CompositeExplicitAutograd")


@torch.library.register_fake("fastmrcnn_deployment::of_any_size", lib=_LIBRARY)
def _of_any_size_fake(pixels: Tensor, divisor: int) -> Tensor:
    return _frames(pixels, divisor)


def _check_frame(image_sizes: Tensor, pixels: Tensor, divisor: int, least: int) -> Tensor:
    check_sides(pixels, divisor, least)
    return image_sizes.clone()


_LIBRARY.impl("check_frame", _check_frame, "CompositeExplicitAutograd")


@torch.library.register_fake("fastmrcnn_deployment::check_frame", lib=_LIBRARY)
def _check_frame_fake(image_sizes: Tensor, pixels: Tensor, divisor: int, least: int) -> Tensor:
    return torch.empty_like(image_sizes)


def check_sides(pixels: Tensor, divisor: int, least: int = 0) -> None:
    """``UserError`` where images are not padded as the network wants them, or a side is no longer than ``least``."""
    height, width = pixels.shape[-2:]
    if min(height, width) <= least or height % divisor != 0 or width % divisor != 0:
        sides = f"sides that are multiples of {divisor}" + (f" and more than {least}" if least > 0 else "")
        raise UserError(f"pixels: expected padded images with {sides}; got {height} x {width}")


def _frames(images: Tensor, divisor: int) -> Tensor:
    """The network's input for a batch of images, of sizes that a tracer does not know."""
    context = torch.library.get_ctx()
    height, width = (context.new_dynamic_size(min=1) * divisor for _ in range(2))
    return images.new_empty((*images.shape[:2], height, width), dtype=torch.float32)


class NetworkDetector(nn.Module):
    """Detection in images that are normalised, resized and padded already.

    The model is put in evaluation mode and shared.

    compiled: in a form that torch's compiler computes rightly: it does not where sizes are found out in the run, so
    that empty slots take part in the work, and frames must be larger than a cell of the coarsest map.
    """

    def __init__(self, model: MaskRCNN, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model.eval()
        self.compiled = compiled

    def forward(self, pixels: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        """What :meth:`MaskRCNN.detect_batch` takes -> the outputs of :class:`.interface.Interface`."""
        config, own = self.model.config, torch.ops.fastmrcnn_deployment
        if self.compiled:
            image_sizes = own.check_frame(
                image_sizes, pixels, config.input.size_divisor, least=config.feature_strides[-1]
            )
        else:
            pixels = own.of_any_size(pixels, config.input.size_divisor)
        return _outputs(self.model.detect_batch(pixels, image_sizes, packed=not self.compiled))


class ImageDetector(nn.Module):
    """Detection in images as they are, all of one size.

    >>> from fastmrcnn.models import tiny
    >>> boxes, scores, labels, counts, masks = ImageDetector(MaskRCNN(tiny(["coin"])))(torch.rand(2, 3, 64, 96))
    >>> boxes.shape, counts.shape
    (torch.Size([2, 100, 4]), torch.Size([2]))
    """

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = model.eval()
        self.input = json.dumps(to_plain(model.config.input))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """[B, C, H, W] uint8, or float32 in 0..1 -> the outputs of :class:`.interface.Interface`."""
        pixels, image_sizes, scales = torch.ops.fastmrcnn_deployment.fit_images(images, self.input)
        found: PaddedInstances = self.model.detect_batch(pixels, image_sizes, packed=True)
        if found.keypoints is not None:
            places = found.keypoints[..., :2] * scales[..., None, :2]
            found = found._replace(keypoints=torch.cat((places, found.keypoints[..., 2:]), dim=-1))
        return _outputs(found._replace(boxes=found.boxes * scales))


def _outputs(found: PaddedInstances) -> tuple[Tensor, ...]:
    """Those that there are; labels become indices, and -1 in empty slots."""
    found = found._replace(labels=found.labels - 1)
    return tuple(part for part in found if part is not None)
