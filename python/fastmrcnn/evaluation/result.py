"""What an evaluation found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

METRICS = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR1",
    "AR10",
    "AR100",
    "AR_small",
    "AR_medium",
    "AR_large",
)
"""The twelve numbers of COCO's table, in its order.

AP: precision averaged over recall 0 to 1, over the classes and over the IoU thresholds 0.50, 0.55 ... 0.95 (AP50, AP75:
at one threshold). AR1, AR10, AR100: recall with that many detections an image. Small: below 32 x 32 pixels of area;
medium: below 96 x 96.
"""


KEYPOINT_METRICS = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large")
"""The ten numbers of COCO's table of keypoints: of object keypoint similarity in place of IoU, with 20 detections an
image; small objects have no keypoints at COCO.
"""


@dataclass(frozen=True)
class EvaluationResult:
    """Average precision and recall of boxes, masks and keypoints.

    Attributes:
        box: the twelve :data:`METRICS` of boxes, each in 0..1, or NaN where there is no object to measure it on.
        mask: the same of masks; all NaN when the model gives no masks.
        per_class: for each class its ``box_ap``, ``box_ap50``, ``mask_ap`` and ``mask_ap50``; ``keypoint_ap`` and
            ``keypoint_ap50`` of a model that finds keypoints.
        table: COCO's standard text, twelve lines for boxes, twelve for masks, and ten for the keypoints of a model that
            finds them; -1 where nothing can be measured.
        losses: ``loss`` and the losses that it is the sum of, means over the images; empty where nobody asked for them.
        keypoint: the ten :data:`KEYPOINT_METRICS` of a model that finds keypoints, else empty.
    """

    box: dict[str, float]
    mask: dict[str, float]
    per_class: dict[str, dict[str, float]]
    table: str
    losses: dict[str, float] = field(default_factory=dict)
    keypoint: dict[str, float] = field(default_factory=dict)

    @property
    def box_ap(self) -> float:
        """Box AP over IoU 0.50 to 0.95."""
        return self.box["AP"]

    @property
    def box_ap50(self) -> float:
        """Box AP at IoU 0.50."""
        return self.box["AP50"]

    @property
    def mask_ap(self) -> float:
        """Mask AP over IoU 0.50 to 0.95."""
        return self.mask["AP"]

    @property
    def mask_ap50(self) -> float:
        """Mask AP at IoU 0.50."""
        return self.mask["AP50"]

    @property
    def keypoint_ap(self) -> float:
        """Keypoint AP over object keypoint similarity 0.50 to 0.95; NaN of a model without keypoints."""
        return self.keypoint.get("AP", math.nan)

    @property
    def averages(self) -> dict[str, float]:
        """``box_ap``, ``mask_ap`` and ``mask_ap50``; ``keypoint_ap`` of a model that finds keypoints."""
        averages = {"box_ap": self.box_ap, "mask_ap": self.mask_ap, "mask_ap50": self.mask_ap50}
        return averages | ({"keypoint_ap": self.keypoint_ap} if self.keypoint else {})
