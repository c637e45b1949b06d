"""Where images lie in the frame of their batch, and what the coordinates of boxes mean inside the network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastmrcnn.models.config import BoxCorners, MaskRCNNConfig
from fastmrcnn.models.instances import ImageBatch, PaddedInstances, Size, Targets
from fastmrcnn.models.padding import is_filled, to_device
from fastmrcnn.models.transform import scale_boxes, shift_boxes


@dataclass(frozen=True)
class BoxFrame:
    """Boxes on their way into the network and out of it.

    Outside, a box reaches from edge to edge. With ``corners`` "pixels" it reaches from its first to its last pixel
    inside, so that a frame of S pixels is S - 1 long: divided by that, they are Matterport's normalised coordinates.
    All that depends on ratios alone (IoU, offsets) is the same in both.
    """

    corners: BoxCorners = "edges"
    # Of the square frame, px, in whose middle images lie; None: they lie at the top left.
    side: int | None = None

    @staticmethod
    def of(config: MaskRCNNConfig) -> BoxFrame:
        return BoxFrame(config.box_corners, config.input.max_size if config.input.frame == "centred_square" else None)

    def enter(self, boxes: Tensor) -> Tensor:
        """Boxes [..., 4] from edge to edge, px of the frame, as the network has them."""
        return boxes if self.corners == "edges" else torch.cat((boxes[..., :2], boxes[..., 2:] - 1), dim=-1)

    def enter_target(self, target: Targets) -> Targets:
        """A target whose boxes, those to ignore included, are as the network has them."""
        if self.corners == "edges":
            return target
        return replace(target, boxes=self.enter(target.boxes), ignore=self.enter(target.ignore))

    def leave(self, boxes: Tensor) -> Tensor:
        """The inverse of :meth:`enter`."""
        return boxes if self.corners == "edges" else torch.cat((boxes[..., :2], boxes[..., 2:] + 1), dim=-1)

    def leave_slots(self, boxes: Tensor, counts: Tensor) -> Tensor:
        """:meth:`leave` for [B, D, 4] of which the first ``counts`` [B] are boxes; zeros stay in the other slots."""
        if self.corners == "edges":
            return boxes
        return torch.where(is_filled(counts, boxes.shape[1])[..., None], self.leave(boxes), 0)

    def on_image(self, boxes: Tensor, origin: Size) -> Tensor:
        """The network's boxes of one image [..., 4] from edge to edge, px of the resized image at ``origin``."""
        return shift_boxes(self.leave(boxes), (-origin[0], -origin[1]))

    def limits(self, sizes: Tensor) -> Tensor:
        """What boxes inside an area are clipped to, from (height, width) [B, 2] of the area, px."""
        return sizes if self.corners == "edges" else sizes - 1

    def proposal_limits(self, image_sizes: Tensor) -> Tensor:
        """What proposals are clipped to, [B, 2]: the image, or the whole frame where it lies in the middle of that."""
        return self.limits(image_sizes if self.side is None else torch.full_like(image_sizes, self.side))

    def origins(self, image_sizes: Tensor) -> Tensor | None:
        """Where the images begin, [B, 1, 4]: left, top, left, top, px of the frame; None: at its corner.

        image_sizes: [B, 2] int64, (height, width).
        """
        if self.side is None:
            return None
        top, left = ((self.side - image_sizes) // 2).unbind(dim=1)
        return torch.stack((left, top, left, top), dim=1)[:, None]

    def cut_off(self, found: PaddedInstances, image_sizes: Tensor) -> PaddedInstances:
        """Instances of the frame cut off at the borders of their images; those beside the image are left out.

        Boxes are edges. image_sizes: [B, 2] int64, (height, width).
        """
        origins = self.origins(image_sizes)
        if origins is None:  # their boxes end with the image already
            return found
        boxes = torch.minimum(found.boxes.maximum(origins), origins + image_sizes.flip(1).repeat(1, 2)[:, None])
        filled = is_filled(found.counts, boxes.shape[1])
        return keep_slots(found._replace(boxes=boxes), filled & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1))

    def place(self, boxes: Tensor, original: Size, size: Size, origin: Size) -> Tensor:
        """The inverse of :meth:`restore` for boxes [N, 4] of one image: from px of the original, edge to edge, to what
        the network has where the image of that size is resized to ``size`` and lies at ``origin``.
        """
        last = 0 if self.corners == "edges" else 1
        source = (max(original[0] - last, 1), max(original[1] - last, 1))
        return shift_boxes(scale_boxes(self.enter(boxes), source, (size[0] - last, size[1] - last)), origin)

    def restore(self, found: PaddedInstances, batch: ImageBatch) -> PaddedInstances:
        """Instances whose boxes are px of the frame with boxes in px of the original images.

        Whole pixels with ``corners`` "pixels"; boxes that are empty then are left out.
        """
        last = 0 if self.corners == "edges" else 1
        scales = [
            ((original[1] - last) / max(size[1] - last, 1), (original[0] - last) / max(size[0] - last, 1)) * 2
            for size, original in zip(batch.sizes, batch.original_sizes, strict=True)
        ]
        scale = torch.tensor(scales, dtype=found.boxes.dtype, device="cpu")
        scale = to_device(scale, found.boxes.device)[:, None]  # [B, 1, 4]
        origins = self.origins(batch.image_sizes)
        if self.corners == "edges" and origins is None:
            found = found._replace(boxes=found.boxes * scale)
            if found.keypoints is None:
                return found
            places = found.keypoints[..., :2] * scale[:, :, None, :2]  # [B, D, K, 2]
            return found._replace(keypoints=torch.cat((places, found.keypoints[..., 2:]), dim=-1))
        boxes = self.enter(found.boxes)
        boxes = self.leave((boxes if origins is None else boxes - origins) * scale)
        filled = is_filled(found.counts, boxes.shape[1])
        if self.corners == "edges":
            return found._replace(boxes=torch.where(filled[..., None], boxes, 0))
        boxes = boxes.round()
        return keep_slots(found._replace(boxes=boxes), filled & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1))


def keep_slots(found: PaddedInstances, kept: Tensor) -> PaddedInstances:
    """The instances in the slots that ``kept`` [B, D] bool names, in their order in the first slots; zeros follow."""
    order = kept.to(torch.uint8).argsort(dim=1, descending=True, stable=True)  # [B, D]
    counts = kept.sum(dim=1)
    filled = is_filled(counts, kept.shape[1])

    def moved(slots: Tensor) -> Tensor:
        tail = (1,) * (slots.ndim - 2)
        taken = slots.gather(1, order.reshape(*order.shape, *tail).expand_as(slots))
        return torch.where(filled.reshape(*filled.shape, *tail), taken, 0)

    slots = {name: moved(field) for name, field in found._asdict().items() if name != "counts" and field is not None}
    return found._replace(counts=counts, **slots)
