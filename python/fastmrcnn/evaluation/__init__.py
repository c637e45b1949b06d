"""COCO average precision and recall of boxes, masks and keypoints."""

from fastmrcnn.evaluation.coco import CocoEvaluator, evaluate
from fastmrcnn.evaluation.losses import ValidationLosses
from fastmrcnn.evaluation.result import EvaluationResult

__all__ = ["CocoEvaluator", "EvaluationResult", "ValidationLosses", "evaluate"]
