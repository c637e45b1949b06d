"""What is wrong with a data set, where, and what it holds: ``fastmrcnn doctor``.

Names load what they need when first used, so that the CLI starts quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmrcnn.lazy import lazy_names

if TYPE_CHECKING:
    from fastmrcnn.doctor.anchors import AnchorReport, report_anchors
    from fastmrcnn.doctor.config import DoctorConfig
    from fastmrcnn.doctor.examination import Split, examine, problems_of
    from fastmrcnn.doctor.page import write_page
    from fastmrcnn.doctor.problem import Kind, Problem
    from fastmrcnn.doctor.repair import write_repaired
    from fastmrcnn.doctor.run import run_doctor
    from fastmrcnn.doctor.statistics import Statistics, measure

__all__ = [
    "AnchorReport",
    "DoctorConfig",
    "Kind",
    "Problem",
    "Split",
    "Statistics",
    "examine",
    "measure",
    "problems_of",
    "report_anchors",
    "run_doctor",
    "write_page",
    "write_repaired",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AnchorReport": "anchors",
        "DoctorConfig": "config",
        "Kind": "problem",
        "Problem": "problem",
        "Split": "examination",
        "Statistics": "statistics",
        "examine": "examination",
        "measure": "statistics",
        "problems_of": "examination",
        "report_anchors": "anchors",
        "run_doctor": "run",
        "write_page": "page",
        "write_repaired": "repair",
    },
)
