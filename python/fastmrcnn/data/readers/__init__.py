"""Readers of annotations: each turns one format into :class:`fastmrcnn.data.annotations.Annotations`."""

from fastmrcnn.data.readers.coco import read_coco
from fastmrcnn.data.readers.formats import DataFormat, read_annotations
from fastmrcnn.data.readers.source import Source

__all__ = ["DataFormat", "Source", "read_annotations", "read_coco"]
