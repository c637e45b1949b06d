"""COCO annotations and image files to training samples, and the embedded procedural data set (``data.scenes``)."""

from fastmrcnn.data.coco import CocoDataset
from fastmrcnn.data.loader import SampleLoader, make_loader
from fastmrcnn.data.sample import Sample, Target, collate, to_target

__all__ = ["CocoDataset", "Sample", "SampleLoader", "Target", "collate", "make_loader", "to_target"]
