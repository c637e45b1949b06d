"""The embedded data set: procedural scenes, written as ordinary image files and COCO JSON.

>>> from fastmrcnn.data.scenes import CLASS_NAMES
>>> CLASS_NAMES
('ball', 'box', 'star', 'ring', 'leaf', 'coin')
"""

from .canvas import SceneObject
from .sprites import CLASS_NAMES, NEW_CLASS_NAMES
from .writer import Scene, render_scene, write_dataset

__all__ = ["CLASS_NAMES", "NEW_CLASS_NAMES", "Scene", "SceneObject", "render_scene", "write_dataset"]
