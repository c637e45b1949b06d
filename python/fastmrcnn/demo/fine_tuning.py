"""Fine-tuning on two classes that the shipped weights have never seen."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import torch

from fastmrcnn.data import CocoDataset
from fastmrcnn.data.scenes import NEW_CLASS_NAMES, write_dataset
from fastmrcnn.demo.config import DemoConfig
from fastmrcnn.demo.scenes import SegmentedScenes, segment_scenes
from fastmrcnn.evaluation import EvaluationResult, evaluate
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.loop import train
from fastmrcnn.training.result import TrainResult
from fastmrcnn.weights import load_model_for_finetuning

TRAINING_IMAGES, HELD_OUT_IMAGES = 32, 8
SEED = 11


@dataclass(frozen=True)
class FineTuning:
    """The run and the same held-out images measured before and after it."""

    run: TrainResult
    before: EvaluationResult
    after: SegmentedScenes

    @property
    def losses(self) -> list[float]:
        """The total loss of each step."""
        return [row["loss"] for row in self.run.metrics if "loss" in row]


def fine_tune(config: DemoConfig, *, progress: bool) -> FineTuning:
    """Draw scenes of the new classes, measure, train for ``config.steps`` steps, measure again."""
    folder = config.output / "new-classes"
    annotations = write_dataset(folder / "train", images=TRAINING_IMAGES, seed=SEED, classes=NEW_CLASS_NAMES)
    held_out = write_dataset(
        folder / "held-out", images=HELD_OUT_IMAGES, seed=SEED, split="val", classes=NEW_CLASS_NAMES
    )
    dataset = CocoDataset(held_out, held_out.parent / "images")
    torch.manual_seed(SEED)  # of the new predictors
    untrained = load_model_for_finetuning(config.weights, dataset.class_names, dataset.category_ids)
    before = evaluate(untrained, dataset)
    output = config.output / "fine-tuning"
    if (output / "metrics.jsonl").exists():  # of an earlier demo
        shutil.rmtree(output)
    run = train(
        TrainConfig(
            train_annotations=annotations,
            train_images=annotations.parent / "images",
            output=output,
            weights=config.weights,
            steps=config.steps,
            batch_size=4,
            optimizer="adamw",  # learns more than SGD in so few steps
            learning_rate=1e-3,
            warmup_steps=5,
            schedule="cosine",
            vertical_flip=0.5,
            checkpoint_every=0,
            workers=0,
            seed=SEED,
            device=config.device,
        ),
        progress=progress,
    )
    return FineTuning(run, before, segment_scenes(run.model, dataset, progress=False))
