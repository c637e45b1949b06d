"""What the paper says, as differences between runs of the same seed, and what these differences tell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.study.record import Run, Study
from benchmarks.study.variants import BASELINE

Verdict = Literal["reproduced", "not told from noise", "equal within noise", "opposite", "too few seeds"]

# Student's t, two-sided 95%, by degrees of freedom.
T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


@dataclass(frozen=True)
class Claim:
    """``better`` minus ``worse`` is above zero, in ``metric``; or, with ``than``, more so than in that metric."""

    text: str
    better: str
    worse: str
    metric: str
    than: str | None = None
    paper: str = ""  # what the paper measured on COCO, and where
    or_equal: bool = False  # holds, too, where no difference is found


CLAIMS = (
    Claim("RoIAlign over RoIPool", BASELINE, "roi_pool", "mask AP", paper="+1.5, FPN (section 4.2)"),
    Claim("RoIAlign over RoIPool, boxes", BASELINE, "roi_pool", "box AP", paper="+0.5, FPN (section 4.2)"),
    Claim("RoIAlign gains more at AP75 than at AP50", BASELINE, "roi_pool", "mask AP75", "mask AP50"),
    Claim("the same of boxes", BASELINE, "roi_pool", "box AP75", "box AP50"),
    Claim("RoIAlign over RoIPool, on C4", "c4", "c4_roi_pool", "mask AP", paper="+3.4 (table 2c)"),
    Claim("on C4, more at AP75 than at AP50", "c4", "c4_roi_pool", "mask AP75", "mask AP50", paper="+2.7 (table 2c)"),
    Claim("sigmoid over softmax masks", BASELINE, "softmax", "mask AP", paper="+5.5 (table 2b)"),
    Claim("FPN over C4", BASELINE, "c4", "mask AP", paper="+3.3 with ResNet-50 (table 2a)"),
    Claim("the mask branch helps boxes", BASELINE, "box_only", "box AP", paper="+0.9 (table 3)"),
    Claim("end to end over the mask head last", BASELINE, "mask_head_last", "mask AP"),
    Claim("end to end over the mask head last, boxes", BASELINE, "mask_head_last", "box AP"),
    Claim("end to end over the RPN first", BASELINE, "rpn_first", "mask AP", paper="+0.6 (table 8)"),
    Claim("end to end over the RPN first, boxes", BASELINE, "rpn_first", "box AP", paper="+1.2 (table 8)"),
    Claim("no less than torchvision's", BASELINE, "torchvision", "mask AP", or_equal=True),
    Claim("no less than torchvision's, boxes", BASELINE, "torchvision", "box AP", or_equal=True),
)


@dataclass(frozen=True)
class Finding:
    """A claim and the differences, seed by seed, in points of average precision (hundredths)."""

    claim: Claim
    differences: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.differences)

    @property
    def deviation(self) -> float:
        """Of the differences, not of their mean."""
        return statistics.stdev(self.differences) if len(self.differences) > 1 else math.nan

    @property
    def reach(self) -> float:
        """Half of the interval in which the mean lies with 95%."""
        degrees = len(self.differences) - 1
        if degrees < 1:
            return math.nan
        return T95[min(degrees, len(T95)) - 1] * self.deviation / math.sqrt(len(self.differences))

    @property
    def verdict(self) -> Verdict:
        if len(self.differences) < 3:
            return "too few seeds"
        if self.mean - self.reach > 0:
            return "reproduced"
        if self.mean + self.reach < 0:
            return "opposite"
        return "equal within noise" if self.claim.or_equal else "not told from noise"


def find(study: Study, claims: Sequence[Claim] = CLAIMS) -> list[Finding]:
    """What the runs so far say of the claims; those without a common seed are left out."""
    findings = [Finding(claim, _differences(study, claim)) for claim in claims]
    return [finding for finding in findings if finding.differences]


def _differences(study: Study, claim: Claim) -> tuple[float, ...]:
    better, worse = study.of(claim.better), study.of(claim.worse)
    return tuple(
        100 * (_gain(better[seed], worse[seed], claim.metric) - _gain(better[seed], worse[seed], claim.than))
        for seed in better
        if seed in worse
    )


def _gain(better: Run, worse: Run, metric: str | None) -> float:
    if metric is None:
        return 0.0
    first, second = better.value(metric), worse.value(metric)
    assert first is not None
    assert second is not None
    return first - second
