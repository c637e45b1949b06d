"""From a start to a trained and measured model, for each way of training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.study.data import Scenes
from benchmarks.study.plain_loop import Fitted, fit_plainly
from benchmarks.study.setting import Setting
from benchmarks.study.variants import VARIANTS, Training, baseline, without_masks
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.models.random_numbers import RandomNumbers
from fastmrcnn.ops import PaddedProposals
from fastmrcnn.training import TrainConfig, train
from fastmrcnn.weights import load_backbone, load_model, save_model

THREADS = 1


@dataclass(frozen=True)
class Start:
    """What the runs of one seed share."""

    setting: Setting
    scenes: Scenes
    backbone: Path  # weights of the classifier
    folder: Path  # for the files of all runs
    seed: int

    def config(self, variant: str, **changes: Any) -> TrainConfig:
        """The schedule, for a run of ``variant``."""
        setting = self.setting
        fields: dict[str, Any] = {
            "train_annotations": self.scenes.train / "annotations.json",
            "train_images": self.scenes.train / "images",
            "eval_annotations": self.scenes.val / "annotations.json",
            "eval_images": self.scenes.val / "images",
            "output": self.folder / f"{variant}-{self.seed}",
            "steps": setting.steps,
            "batch_size": setting.batch_size,
            "optimizer": "adamw",
            "learning_rate": setting.learning_rate,
            "weight_decay": setting.weight_decay,
            "warmup_steps": setting.warmup_steps,
            "schedule": "cosine",
            "gradient_clip": setting.gradient_clip,
            "horizontal_flip": 0.5,
            "vertical_flip": 0.5,
            "seed": self.seed,
            "workers": 0,
            "device": "cpu",
            "threads": THREADS,
            "evaluate_every": setting.evaluate_every,
            "checkpoint_every": 0,
        }
        return TrainConfig(**(fields | changes))

    def model(self, config: MaskRCNNConfig) -> MaskRCNN:
        """A network before its first step. What it has in common with the baseline of the same seed has the same
        weights; its backbone is the classifier's."""
        started = self._random(config)
        common = self._random(baseline(self.setting)).state_dict()
        state = started.state_dict()
        shared = {name: value for name, value in common.items() if name in state and state[name].shape == value.shape}
        started.load_state_dict(state | shared)
        load_backbone(started, self.backbone)
        return started

    def _random(self, config: MaskRCNNConfig) -> MaskRCNN:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return MaskRCNN(config)


def fit(variant: str, start: Start) -> Fitted:
    """Train and measure a variant."""
    return WAYS[VARIANTS[variant].training](variant, start)


def fit_with_train(variant: str, start: Start) -> Fitted:
    """The library's own way: ``fastmrcnn.training.train`` on a weights file."""
    config = VARIANTS[variant].change(baseline(start.setting))
    return _train(start, variant, start.model(config))


def fit_mask_head_last(variant: str, start: Start) -> Fitted:
    """A detector of boxes, trained and then frozen, and as many steps again for a mask head on what it has learned."""
    boxes = _trained(start, "box_only", without_masks(baseline(start.setting)))
    model = start.model(baseline(start.setting))
    model.load_state_dict(model.state_dict() | boxes.state_dict())
    assert model.roi_heads is not None
    assert model.roi_heads.mask_head is not None
    model.requires_grad_(False)
    model.roi_heads.mask_head.requires_grad_(True)

    def mask_loss(images: list[Tensor], targets: list[Any]) -> dict[str, Tensor]:
        return {"loss_mask": model(images, targets)["loss_mask"]}

    return fit_plainly(model, mask_loss, model, start.config(variant))


def fit_rpn_first(variant: str, start: Start) -> Fitted:
    """Proposals by a network trained for nothing else; then a second network, from the same start, on these."""
    whole = baseline(start.setting)
    proposer = _trained(start, "rpn_only", replace(whole, box_head=None, mask_head=None), eval_annotations=None)
    model = SecondStage(whole, proposer.requires_grad_(False))
    model.load_state_dict(start.model(whole).state_dict() | _prefixed("proposer.", proposer))
    return fit_plainly(model, model, model, start.config(variant))


def fit_torchvision(variant: str, start: Start) -> Fitted:
    """torchvision's class, with our initial weights and our samples in our order; the rest is its own."""
    from benchmarks.study.peer import TorchvisionModel  # torchvision may be absent

    model = TorchvisionModel(start.model(baseline(start.setting)))
    return fit_plainly(model.network, model.losses, model, start.config(variant))


WAYS: dict[Training, Callable[[str, Start], Fitted]] = {
    "train": fit_with_train,
    "mask_head_last": fit_mask_head_last,
    "rpn_first": fit_rpn_first,
    "torchvision": fit_torchvision,
}


class SecondStage(MaskRCNN):
    """Mask R-CNN on the proposals of another network, whose features it does not share; its own RPN learns nothing."""

    def __init__(self, config: MaskRCNNConfig, proposer: MaskRCNN) -> None:
        super().__init__(config)
        self.proposer = proposer

    def losses(self, images: Any, targets: Any, seeds: Any = None) -> dict[str, Tensor]:
        random = None if seeds is None else [RandomNumbers(seed) for seed in seeds]
        batch = self.transform(images, random)
        objects = self.transform.targets(targets, batch, random)
        assert self.roi_heads is not None
        proposals = self._proposals(batch.pixels, batch.image_sizes)
        return self.roi_heads.losses(self.features(batch.pixels), proposals, objects)

    def detect_batch(self, pixels: Tensor, image_sizes: Tensor, *, packed: bool = False) -> Any:
        assert self.roi_heads is not None
        proposals = self._proposals(pixels, image_sizes)
        return self.roi_heads.detect(self.features(pixels), proposals, image_sizes, packed=packed)

    @torch.no_grad()
    def _proposals(self, pixels: Tensor, image_sizes: Tensor) -> PaddedProposals:
        size = (pixels.shape[-2], pixels.shape[-1])
        return self.proposer.rpn(self.proposer.features(pixels), size, image_sizes)[1]


def _train(start: Start, variant: str, model: MaskRCNN, **changes: Any) -> Fitted:
    config = start.config(variant, **changes)
    assert config.output is not None
    shutil.rmtree(config.output, ignore_errors=True)  # of a run that was not recorded
    weights = config.output.with_suffix(".start.safetensors")
    save_model(model, weights)
    result = train(replace(config, weights=str(weights)), progress=False)
    return Fitted(result.evaluation, result.metrics, result.seconds, result.images_per_second)


def _trained(start: Start, variant: str, config: MaskRCNNConfig, **changes: Any) -> MaskRCNN:
    """The network of a first stage: of a run that is there, or of one that is made now."""
    output = start.config(variant).output
    assert output is not None
    if not (output / "last.safetensors").exists():
        _train(start, variant, start.model(config), **changes)
    return load_model(output / "last.safetensors")


def _prefixed(prefix: str, model: MaskRCNN) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in model.state_dict().items()}
