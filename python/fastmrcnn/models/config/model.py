"""The configuration of a whole network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fastmrcnn.models.config.backbone import BackboneConfig, FPNConfig, Neck
from fastmrcnn.models.config.checks import as_names, require, require_choice
from fastmrcnn.models.config.heads import BoxHeadConfig, KeypointHeadConfig, MaskHeadConfig
from fastmrcnn.models.config.input import InputConfig
from fastmrcnn.models.config.rpn import RPNConfig
from fastmrcnn.models.plain import from_plain, to_plain

BoxCorners = Literal["edges", "pixels"]

PYRAMID_STRIDES = (4, 8, 16, 32, 64)  # P2..P6, input pixels per feature cell


@dataclass(frozen=True)
class MaskRCNNConfig:
    """A whole network of the R-CNN family.

    With all parts it is Mask R-CNN; ``mask_head=None`` makes it Faster R-CNN, ``box_head=None`` too leaves the region
    proposals alone; a ``keypoint_head`` may stand beside the mask head or in its place.

    ``class_names`` are the foreground classes in the order of the network's outputs; ``category_ids`` are the ids
    that a data set gives them (1, 2, .. when left out).

    >>> config = MaskRCNNConfig(class_names=("cat", "dog"))
    >>> config.category_ids
    (1, 2)
    >>> MaskRCNNConfig.from_dict(config.to_dict()) == config
    True
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] = ()
    input: InputConfig = field(default_factory=InputConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    neck: Neck = "fpn"
    fpn: FPNConfig = field(default_factory=FPNConfig)  # not read with another neck
    rpn: RPNConfig = field(default_factory=RPNConfig)
    box_head: BoxHeadConfig | None = field(default_factory=BoxHeadConfig)
    mask_head: MaskHeadConfig | None = field(default_factory=MaskHeadConfig)
    keypoint_head: KeypointHeadConfig | None = None
    # What coordinates mean inside the network. "edges": a box reaches from its left to its right edge and is x2 - x1
    # wide. "pixels": from its first to its last pixel, and found boxes are whole pixels (Matterport). Boxes that go in
    # and come out are edges in either case.
    box_corners: BoxCorners = "edges"
    # Memory layout of the kernels. Channels last takes half to two thirds of the time on a CPU; convolutions then round
    # in another order, which moves boxes by some 1e-3 px and scores by some 1e-5.
    channels_last: bool = True

    def __post_init__(self) -> None:
        names, ids = as_names(self.class_names), tuple(self.category_ids)
        ids = ids or tuple(range(1, len(names) + 1))
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "category_ids", ids)
        require(len(names) > 0, self, "class_names must name at least one class", names)
        require(len(set(names)) == len(names), self, "class_names must differ", names)
        require(len(ids) == len(names), self, f"category_ids must match the {len(names)} class_names", ids)
        require(len(set(ids)) == len(ids), self, "category_ids must differ", ids)
        require_choice(self, Neck, neck=self.neck)
        require_choice(self, BoxCorners, box_corners=self.box_corners)
        levels, sizes = len(self.feature_strides), self.rpn.anchors.sizes
        require(len(sizes) == levels, self, f"rpn.anchors.sizes must name {levels} levels with {self.neck}", sizes)
        if self.box_head is None:
            alone = self.mask_head is None and self.keypoint_head is None
            require(alone, self, "mask_head and keypoint_head need a box_head", self.box_head)
        elif self.mask_head is None:
            require(self.box_head.nms != "mask", self, "box_head.nms mask needs a mask_head", None)
        if self.keypoint_head is not None:
            plain = self.box_corners == "edges" and self.input.frame == "top_left"
            found = (self.box_corners, self.input.frame)
            require(plain, self, "keypoint_head needs box_corners edges and input.frame top_left", found)
        if self.neck == "c4":
            dilated = self.backbone.dilated
            require(not dilated, self, "backbone.dilated needs a neck that reads stage 5, not c4", dilated)

    @property
    def num_classes(self) -> int:
        """Foreground classes; the classifier has one output more, for the background (index 0)."""
        return len(self.class_names)

    @property
    def feature_strides(self) -> tuple[int, ...]:
        """Input pixels per cell of each feature map."""
        c4, c5 = self.backbone.stage_strides[2:]
        return {"fpn": PYRAMID_STRIDES, "c4": (c4,), "c5": (c5,)}[self.neck]

    @property
    def feature_channels(self) -> int:
        """Channels of each feature map."""
        c4, c5 = self.backbone.stage_channels[2:]
        return {"fpn": self.fpn.channels, "c4": c4, "c5": c5}[self.neck]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings, ready for JSON."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MaskRCNNConfig:
        """The inverse of :meth:`to_dict`; a missing field keeps its default, an unknown one is a ValueError."""
        return from_plain(cls, values)
