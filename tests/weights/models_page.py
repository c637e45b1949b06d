"""The tables of MODELS.md, made of what the code holds: ``python -m tests.weights.models_page`` writes them anew."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastmrcnn.models import KeypointHeadConfig, MaskRCNNConfig, presets
from fastmrcnn.weights.published import PUBLISHED, PublishedModel

PAGE = Path(__file__).parents[2] / "MODELS.md"

# The profiles side by side, each in the form of its family's best known model.
PROFILES = {
    "fastmrcnn": "maskrcnn_resnet50_fpn",
    "torchvision": "torchvision_resnet50_fpn",
    "torchvision v2": "torchvision_resnet50_fpn_v2",
    "detectron2": "detectron2_rcnn",
    "mmdetection": "mmdetection_rcnn",
    "Matterport": "matterport_resnet_fpn",
}

# Their keypoint heads, of the families that have one.
KEYPOINT_HEADS = {
    "fastmrcnn": KeypointHeadConfig(),
    "torchvision": presets.torchvision_keypointrcnn_resnet50_fpn().keypoint_head,
    "detectron2": presets.detectron2_rcnn(["person"], keypoints=True).keypoint_head,
}

# What stands behind a name of PUBLISHED, by its beginning; MODELS.md says what the letters mean.
VERIFIED = {"torchvision/": "peer", "detectron2/": "reference", "mmdetection/": "reference", "matterport/": "reference"}


def published_table() -> str:
    """The published models, a row each."""
    rows = [
        ["name for `load_model`", "file", "box AP", "mask AP", "keypoint AP", "profile", "verified"],
        ["---", "---", "---:", "---:", "---:", "---", "---"],
        *(_published_row(name, model) for name, model in PUBLISHED.items()),
    ]
    return _table(rows)


def _published_row(name: str, model: PublishedModel) -> list[str]:
    verified = next(how for beginning, how in VERIFIED.items() if name.startswith(beginning))
    details = "".join(f", {key}={_shown(value)}" for key, value in model.details.items())
    figures = [model.box_ap, model.mask_ap, model.keypoint_ap]
    return [
        f"`{name}`",
        f"[{model.url.rpartition('/')[2]}]({model.url})",
        *("" if figure is None else f"{figure:.1f}" for figure in figures),
        f"`{model.profile}`{details}",
        verified,
    ]


def profiles_table() -> str:
    """The fields of the configuration in which the families differ, a row each."""
    configs = {
        family: _fields(replace(getattr(presets, preset)(["object"]), keypoint_head=KEYPOINT_HEADS.get(family)))
        for family, preset in PROFILES.items()
    }
    names = list(dict.fromkeys(name for fields in configs.values() for name in fields))
    rows = [["field", *configs], ["---"] * (len(configs) + 1)]
    for name in names:
        values = [fields.get(name, "") for fields in configs.values()]
        if len(set(values) - {""}) > 1:
            rows.append([f"`{name}`", *values])
    return _table(rows)


def _fields(config: MaskRCNNConfig) -> dict[str, str]:
    plain = config.to_dict()
    del plain["class_names"], plain["category_ids"]
    plain["keypoint_head"] = plain["keypoint_head"] or {}
    return dict(_flat(plain, ""))


def _flat(value: Any, name: str) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(item, f"{name}.{key}".removeprefix("."))]
    return [(name, _shown(value))]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: list[list[str]]) -> str:
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in rows)


TABLES = {"published": published_table, "profiles": profiles_table}


def with_tables(page: str) -> str:
    """``page`` with what stands between the marks of each table replaced."""
    for name, table in TABLES.items():
        marks = re.compile(rf"(<!-- {name}: [^\n]*-->\n\n).*?(\n\n<!-- end of {name} -->)", re.DOTALL)
        page, count = marks.subn(lambda found, table=table: f"{found[1]}{table()}{found[2]}", page)
        assert count == 1, f"MODELS.md: expected the marks of the table {name!r} once; found them {count} times"
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
