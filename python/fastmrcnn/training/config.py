"""What a training run is: every choice in one frozen, printable, JSON-able dataclass."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

from fastmrcnn.errors import UserError
from fastmrcnn.files import read_json
from fastmrcnn.training.config_checks import check_config
from fastmrcnn.training.typed_fields import typed_fields

DataFormat = Literal["coco", "via", "labelme", "yolo", "voc", "cityscapes", "masks"]  # that of data, without torch

MOST_UNSAVED_STEPS = 500  # between two checkpoints, where nothing is said


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run on images with annotated instances.

    Every field is a command line option of ``fastmrcnn train`` and a key of the JSON files that ``--config`` reads.
    A value that cannot work raises ``UserError`` naming the field.

    >>> TrainConfig(train_annotations="a.json", train_images="images", batch_size=0)
    Traceback (most recent call last):
        ...
    fastmrcnn.errors.UserError: batch_size must be at least 1; got 0
    """

    # What to train on: a JSON file of COCO or VIA, a folder of LabelMe's, the YAML file of a YOLO data set, the folder
    # of Pascal VOC or Cityscapes (or a list or a folder in it), a folder of masks.
    train_annotations: Path
    # Folder that the names of the images are relative to; the default is where the format has them.
    train_images: Path | None = None
    # What to evaluate on, likewise; without it nothing is evaluated. Of a path that holds several splits, "train" is
    # trained and "val" evaluated.
    eval_annotations: Path | None = None
    # Folder of the evaluation images; the default is train_images.
    eval_images: Path | None = None
    # Format of the annotations; the default finds out.
    data_format: DataFormat | None = None
    # Folder for config.json, metrics.jsonl, curves.png, checkpoints and weights; default: the next free runs/train-N.
    output: Path | None = None

    # Start from the shipped weights "tiny", a weights file or the name of a published model, with new predictors for
    # the classes of the data. Default: "tiny", when no model is named.
    weights: str | None = None
    # Start this architecture from random weights instead: tiny, resnet50_fpn, resnet101_c4, resnext50_32x4d_fpn,
    # torchvision/maskrcnn_resnet50_fpn_v2, detectron2/mask_rcnn_R_50_FPN, ...; an unknown name is answered with all.
    model: str | None = None
    # With model: start its backbone from a ResNet trained elsewhere, a file or a name such as "torchvision/resnet50".
    backbone: str | None = None
    # Channels of the images: 1 is grey, 3 RGB, others are the bands of TIFFs or .npy arrays as they are. Default: those
    # of the model that the run starts from. For another number its first convolution is made to fit, and the mean and
    # deviation of each channel are measured on the training images.
    channels: int | None = None
    # The number that is white in images of 16 bits: 4095 where a camera has 12; the default is the model's own, 65535.
    white_level: int | None = None
    # With model: the normalisation of its backbone. "bn" follows the images of a step, "sync_bn" those of all processes
    # on GPUs; "gn" needs no large batches, "frozen_bn" keeps the statistics of the backbone's file.
    norm: Literal["bn", "sync_bn", "gn", "frozen_bn"] | None = None
    # How much of the backbone, from the front, is not trained: 0 nothing, 1 the stem, 2 its second stage too, up to 5,
    # all of it. The default is the model's own, 0 for those that start from random weights.
    frozen_stages: int | None = None
    # Let the batch norms of the backbone keep the statistics that they start with, which is better for few images per
    # step; otherwise these follow the images, in frozen stages too.
    frozen_statistics: bool = False
    # Length of the shorter side that images are resized to, in pixels. The default is the model's own: of "tiny" 320,
    # where smaller images keep their size.
    min_size: int | None = None
    # Longest side after resizing, in pixels; the default is the model's own.
    max_size: int | None = None
    # In training, the shorter side is drawn from these for each image, in pixels; the default is min_size, and
    # where that is not given either, what the model was trained with.
    train_min_sizes: tuple[int, ...] = ()
    # Factor on the sizes of all anchors of the model: `fastmrcnn doctor` says which covers the objects best.
    anchor_scale: float = 1.0
    # Height / width of the anchors, as many as weights have; the default is the model's own.
    anchor_ratios: tuple[float, ...] = ()

    # Passes over the training images.
    epochs: float = 12.0
    # Optimizer steps; overrides epochs.
    steps: int | None = None
    # Images per step, of all processes together.
    batch_size: int = 4
    # Parts that the images of a step are computed in, one after the other, to save memory: their gradients add up.
    accumulate: int = 1
    # "sgd" with momentum as in the paper, or "adamw", which needs fewer steps from random weights.
    optimizer: Literal["sgd", "adamw"] = "sgd"
    # Peak learning rate. 0.02 for 16 images is the usual value of SGD: scale it with batch_size.
    learning_rate: float = 0.005
    # Momentum of SGD (beta1 of AdamW).
    momentum: float = 0.9
    # L2 penalty on weights (decoupled in AdamW); normalisation parameters and biases have none.
    weight_decay: float = 1e-4
    # Steps over which the learning rate rises linearly to its peak; at most half of the run.
    warmup_steps: int = 200
    # After the warm-up: "steps" multiplies by lr_decay at each milestone, "cosine" falls to zero. "onecycle" rises over
    # 30% of the run and falls to nearly zero.
    schedule: Literal["steps", "cosine", "onecycle"] = "steps"
    # Fractions of the run at which schedule "steps" decays.
    lr_milestones: tuple[float, ...] = (0.67, 0.89)
    # Factor at each milestone.
    lr_decay: float = 0.1
    # Longest L2 norm of the whole gradient; longer ones are scaled down. 0 never clips.
    gradient_clip: float = 10.0
    # "bf16" and "fp16" compute convolutions and matrix products in 16 bits; weights stay float32. bf16 has the range
    # of float32; the losses of fp16 are scaled, so that its gradients do not vanish.
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    # Of several processes: batch norms (but frozen ones) normalise by the statistics of all their images, so that the
    # training is that of one process; otherwise each has its own, and waits less.
    sync_bn: bool = True
    # Decay of a running average of the weights, such as 0.999, which is then evaluated and kept; 0 keeps none.
    ema: float = 0.0

    # Probability of mirroring a training image left to right.
    horizontal_flip: float = 0.5
    # Probability of mirroring a training image top to bottom.
    vertical_flip: float = 0.0
    # Strength of random brightness, contrast and saturation: factors in 1 - x .. 1 + x.
    color_jitter: float = 0.0
    # Largest turn of the hue, as a share of the whole circle, up to 0.5.
    hue_jitter: float = 0.0
    # Probability of training on a window of an image; it holds the centre of an object, where there is any.
    random_crop: float = 0.0
    # Smallest and largest width and height of the window, as shares of the image's.
    crop_sides: tuple[float, float] = (0.5, 1.0)
    # Large-scale jitter: smallest and largest scale, 0.1 2.0 in the paper (Ghiasi et al. 2021), of images that are then
    # cut or padded to a square. It replaces min_size in training.
    large_scale_jitter: tuple[float, ...] = ()
    # Side of that square in pixels, 1024 in the paper; the default is min_size.
    jitter_size: int | None = None
    # Probability of pasting objects of another training image over an image.
    copy_paste: float = 0.0

    # Let the images of a step be all upright or all lying, which saves padding.
    aspect_grouping: bool = False
    # Show images of rare categories more often: those in a smaller share of the images than this, 0.001 for LVIS. An
    # epoch is longer then. 0 shows all equally often.
    repeat_threshold: float = 0.0

    # Seed of the initial weights, the order, the augmentation and the sampling.
    seed: int = 0
    # Processes that read images ahead, for each training process; 0 reads in the training process.
    workers: int = 2
    # "auto" is CUDA when available; or "cpu", "cuda", "cuda:1", ...
    device: str = "auto"
    # CPU threads of one step; 0 leaves PyTorch's own choice.
    threads: int = 0
    # Let torch.compile make the trunk faster: for GPUs and 16 bits. The first steps take minutes, and it needs a C++
    # compiler. On a CPU in fp32 it is slower than the convolutions that it takes the place of.
    compile: bool = False
    # Steps between evaluations; 0 evaluates at the end only.
    evaluate_every: int = 0
    # Of a model with keypoints, for its AP: how precisely each can be placed, as a share of the object's scale. The
    # default is COCO's for the joints of a body, 0.07 for others.
    keypoint_sigmas: tuple[float, ...] = ()
    # Stop when that many evaluations, one after the other, brought no better AP; 0 never does.
    patience: int = 0
    # Steps between checkpoints; 0 writes one at the end and on Ctrl-C only. The default is a tenth of the run, and 500
    # at most.
    checkpoint_every: int | None = None
    # Newest checkpoints that are kept.
    keep_checkpoints: int = 2
    # Evaluation images whose predictions report.html (and TensorBoard) shows after every evaluation.
    shown_images: int = 4
    # Write files for TensorBoard into the output folder too; needs the extra "tensorboard".
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("train_annotations", "train_images", "eval_annotations", "eval_images", "output"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, Path(value))
        for name in (
            "lr_milestones",
            "train_min_sizes",
            "anchor_ratios",
            "crop_sides",
            "large_scale_jitter",
            "keypoint_sigmas",
        ):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_config(self)

    def total_steps(self, images: int) -> int:
        """Optimizer steps of the whole run over a data set of ``images`` images."""
        return self.steps or max(1, math.ceil(self.epochs * images / self.batch_size))

    def steps_between_checkpoints(self, total_steps: int) -> int:
        """``checkpoint_every``, or its default for a run of so many steps: little is lost of short and of long ones."""
        if self.checkpoint_every is not None:
            return self.checkpoint_every
        return min(MOST_UNSAVED_STEPS, math.ceil(total_steps / 10))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dictionary; :meth:`from_dict` reads it back."""
        values = dataclasses.asdict(self)
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, source: str = "TrainConfig") -> TrainConfig:
        """The configuration of ``values``; ``UserError`` naming ``source`` and the key that is unknown or mistyped."""
        fields = typed_fields(cls, values, source)
        if "train_annotations" not in fields:
            raise UserError(f"{source}: train_annotations is missing")
        try:
            return cls(**fields)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None


def read_config_fields(path: Path) -> dict[str, Any]:
    """The fields of ``TrainConfig`` that a JSON file sets, checked by name and type; it may leave any out."""
    return typed_fields(TrainConfig, read_json(path, expected="a JSON object of training options"), str(path))
