"""The sizes of the study: data, network, schedule. All variants share them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """Small enough for a run in two minutes on one CPU thread, large enough that the variants differ."""

    # Scenes: square, so that neither side has to resize or pad an image.
    classes: tuple[str, ...] = ("ball", "star", "ring")
    side: int = 128  # px
    train_images: int = 2400
    val_images: int = 160
    data_seed: int = 11

    # The classifier that every run takes its backbone from, as the paper's take one trained on ImageNet. It sees single
    # objects, cut out of scenes that no run trains on.
    crop_scenes: int = 2500
    crop_side: int = 48  # px
    crop_batch: int = 64
    crop_steps: int = 3000
    crop_learning_rate: float = 2e-3
    crop_weight_decay: float = 0.05

    # A ResNet-18 of a quarter of its width. Its normalisation is frozen, as the paper's is.
    width: int = 16  # channels of the stem
    channels: int = 32  # of the pyramid, the RPN of C4 and the mask head
    hidden: int = 128  # units of the box head
    anchors: int = 64  # sampled an image
    proposals: int = 100  # kept an image
    rois: int = 32  # sampled an image, half of them objects where there are enough: the mask head learns from these

    # The schedule: AdamW, a short warm-up, then half a cosine.
    steps: int = 600
    batch_size: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 50
    gradient_clip: float = 5.0
    evaluate_every: int = 150

    def to_dict(self) -> dict[str, Any]:
        """As JSON gives it back."""
        values = asdict(self)
        return values | {"classes": list(self.classes)}


STANDARD = Setting()

# Does the program work? Seconds for a run, and nothing is learned.
QUICK = Setting(
    classes=("ball", "ring"),
    side=64,
    train_images=6,
    val_images=3,
    crop_scenes=4,
    crop_side=32,
    crop_batch=4,
    crop_steps=2,
    width=8,
    channels=8,
    hidden=16,
    anchors=16,
    proposals=20,
    rois=8,
    steps=2,
    batch_size=2,
    evaluate_every=1,
)
