"""Making a model ready to deploy. Names load what they need at first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmrcnn.lazy import lazy_names

if TYPE_CHECKING:
    from fastmrcnn.deployment.agreement import Agreement, compare
    from fastmrcnn.deployment.export_config import ExportConfig
    from fastmrcnn.deployment.exported import ExportedModel, load_exported
    from fastmrcnn.deployment.exporting import Exported, export, export_file
    from fastmrcnn.deployment.interface import Interface
    from fastmrcnn.deployment.optimization import optimize
    from fastmrcnn.deployment.optimized import OptimizedMaskRCNN
    from fastmrcnn.deployment.report import OptimizationReport, Step

__all__ = [
    "Agreement",
    "ExportConfig",
    "Exported",
    "ExportedModel",
    "Interface",
    "OptimizationReport",
    "OptimizedMaskRCNN",
    "Step",
    "compare",
    "export",
    "export_file",
    "load_exported",
    "optimize",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Agreement": "agreement",
        "ExportConfig": "export_config",
        "Exported": "exporting",
        "ExportedModel": "exported",
        "Interface": "interface",
        "OptimizationReport": "report",
        "OptimizedMaskRCNN": "optimized",
        "Step": "report",
        "compare": "agreement",
        "export": "exporting",
        "export_file": "exporting",
        "load_exported": "exported",
        "optimize": "optimization",
    },
)
