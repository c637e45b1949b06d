"""The held-out scenes: drawn, segmented, measured."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastmrcnn.data import InstanceDataset, Sample
from fastmrcnn.evaluation import CocoEvaluator, EvaluationResult
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.models import MaskRCNN
from fastmrcnn.structures import Detections


@dataclass(frozen=True)
class SegmentedScenes:
    """A data set beside what the model found in it."""

    class_names: tuple[str, ...]
    # Every image with its annotations and its detections (all scores).
    pairs: list[tuple[Sample, Detections]]
    evaluation: EvaluationResult
    # Of prediction alone: reading, drawing and measuring are not in it.
    images_per_second: float


def segment_scenes(model: MaskRCNN, dataset: InstanceDataset, *, progress: bool) -> SegmentedScenes:
    """Segment every image of ``dataset``, one by one, and measure the result with COCO's metrics."""
    evaluator = CocoEvaluator(dataset.content, class_names=dataset.class_names)
    pairs = []
    seconds = 0.0
    model.predict([dataset[0].image])  # the first call allocates and warms up; it is not timed
    with progress_bar(len(dataset), "predict", "image", shown=progress) as bar:
        for sample in (dataset[index] for index in range(len(dataset))):
            start = time.perf_counter()
            [found] = model.predict([sample.image])
            seconds += time.perf_counter() - start
            evaluator.update(sample.image_id, found)
            pairs.append((sample, found))
            bar.update()
    return SegmentedScenes(dataset.class_names, pairs, evaluator.summarize(), len(pairs) / seconds)
