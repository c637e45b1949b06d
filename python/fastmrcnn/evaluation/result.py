"""What an evaluation found."""

from __future__ import annotations

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


@dataclass(frozen=True)
class EvaluationResult:
    """Average precision and recall of boxes and masks.

    Attributes:
        box: the twelve :data:`METRICS` of boxes, each in 0..1, or NaN where there is no object to measure it on.
        mask: the same of masks; all NaN when the model gives no masks.
        per_class: for each class its ``box_ap``, ``box_ap50``, ``mask_ap`` and ``mask_ap50``.
        table: COCO's standard text, twelve lines for boxes, twelve for masks; -1 where nothing can be measured.
        losses: ``loss`` and the losses that it is the sum of, means over the images; empty where nobody asked for them.
    """

    box: dict[str, float]
    mask: dict[str, float]
    per_class: dict[str, dict[str, float]]
    table: str
    losses: dict[str, float] = field(default_factory=dict)

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
