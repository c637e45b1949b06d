"""Pictures for people: instances over images, curves, and reports. Arrays and Pillow; no torch."""

from fastmrcnn.visualisation.curves import Curve, Panel, ap_panel, draw_panels, loss_panel, run_panels, save_curves
from fastmrcnn.visualisation.overlay import draw_instances
from fastmrcnn.visualisation.picture import as_picture
from fastmrcnn.visualisation.report import Report

__all__ = [
    "Curve",
    "Panel",
    "Report",
    "ap_panel",
    "as_picture",
    "draw_instances",
    "draw_panels",
    "loss_panel",
    "run_panels",
    "save_curves",
]
