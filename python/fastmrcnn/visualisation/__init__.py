"""Pictures for people: instances over images, curves, and reports. Arrays and Pillow; no torch."""

from fastmrcnn.visualisation.overlay import draw_instances

__all__ = ["draw_instances"]
