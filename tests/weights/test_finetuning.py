"""Starting from weights for other classes: what depends on them is new, everything else is kept."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.config import AnchorConfig, KeypointHeadConfig, PoolerConfig
from fastmrcnn.weights import load_model, load_model_for_finetuning, save_model
from fastmrcnn.weights.finetuning import growing
from tests.models.small import images_of, small_model

PREDICTORS = {"box_head.classifier": 1, "box_head.deltas": 4, "mask_head.logits": 1}  # outputs of a class


def saved(model: MaskRCNN, folder: Path) -> Path:
    save_model(model, folder / "model.safetensors")
    return folder / "model.safetensors"


def tensors_of(layers: set[str]) -> set[str]:
    return {f"roi_heads.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def test_only_the_outputs_of_new_classes_are_new(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(small_model(), tmp_path)
    with caplog.at_level(logging.INFO, logger="fastmrcnn"):
        model = load_model_for_finetuning(path, ["box", "star", "ring"], [5, 6, 9])
    old, new = small_model().state_dict(), model.state_dict()
    assert caplog.messages == [
        f"{path}: kept all {len(old)} tensors but the outputs of star, ring in roi_heads.box_head.classifier, "
        "roi_heads.box_head.deltas, roi_heads.mask_head.logits (those of the background, box are kept)"
    ]
    assert model.config.class_names == ("box", "star", "ring")
    assert model.config.category_ids == (5, 6, 9)
    changed = {name for name, value in new.items() if not torch.equal(value, old[name])}
    assert changed == tensors_of(set(PREDICTORS))
    # disc, box were classes 1, 2; box is class 1 now.
    for layer, outputs in PREDICTORS.items():
        for kind in ("weight", "bias"):
            before = old[f"roi_heads.{layer}.{kind}"].unflatten(0, (3, outputs))
            after = new[f"roi_heads.{layer}.{kind}"].unflatten(0, (4, outputs))
            assert torch.equal(after[0], before[0])
            assert torch.equal(after[1], before[2])
            if kind == "weight":
                assert not torch.equal(after[2], before[1])
                assert 0 < after[2:].abs().max() < 0.1


def test_the_same_classes_keep_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fastmrcnn"):
        model = load_model_for_finetuning(saved(small_model(), tmp_path), ["disc", "box"])
    old = small_model().state_dict()
    assert all(torch.equal(value, old[name]) for name, value in model.state_dict().items())
    assert model.config.category_ids == (1, 2)
    assert caplog.messages[0].endswith(f": kept all {len(old)} tensors")


def test_classes_in_another_order_take_their_outputs_along(tmp_path: Path) -> None:
    model = load_model_for_finetuning(saved(small_model(), tmp_path), ["box", "disc"])
    old, new = small_model().state_dict(), model.state_dict()
    for layer, outputs in PREDICTORS.items():
        before, after = (state[f"roi_heads.{layer}.weight"].unflatten(0, (3, outputs)) for state in (old, new))
        assert torch.equal(after, before[[0, 2, 1]])


def test_unknown_classes_keep_the_background(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fastmrcnn"):
        model = load_model_for_finetuning(saved(small_model(), tmp_path), ["star"])
    assert caplog.messages[0].endswith("roi_heads.mask_head.logits (those of the background are kept)")
    name = "roi_heads.box_head.classifier.weight"
    assert torch.equal(model.state_dict()[name][0], small_model().state_dict()[name][0])


def test_many_classes_are_not_all_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fastmrcnn"):
        load_model_for_finetuning(saved(small_model(), tmp_path), [f"c{index}" for index in range(30)])
    assert "but the outputs of c0, c1, c2, c3, c4, c5, c6 and 23 more in roi_heads.box_head.cl" in caplog.messages[0]


def test_the_number_of_classes_decides_what_depends_on_it() -> None:
    config = small_model().config
    more = dataclasses.replace(config, class_names=("a", "b", "c"), category_ids=())
    assert growing(config, more) == dict.fromkeys(tensors_of(set(PREDICTORS)), 0)


def test_keypoints_are_kept_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head = KeypointHeadConfig(keypoint_names=("nose", "tail", "paw"), channels=8, convolutions=1)
    old = small_model(keypoint_head=head)
    path = saved(old, tmp_path)
    with caplog.at_level(logging.INFO, logger="fastmrcnn"):
        model = load_model_for_finetuning(path, ["disc", "box"], keypoint_names=["horn", "nose"])
    assert caplog.messages[0].endswith(
        "tensors but the outputs of horn in roi_heads.keypoint_head.upsample (those of nose are kept)"
    )
    assert model.config.keypoint_head == dataclasses.replace(head, keypoint_names=("horn", "nose"))
    before, after = old.state_dict(), model.state_dict()
    layer = "roi_heads.keypoint_head.upsample"
    assert after[f"{layer}.weight"].shape == (8, 2, 4, 4)
    assert torch.equal(after[f"{layer}.weight"][:, 1], before[f"{layer}.weight"][:, 0])
    assert torch.equal(after[f"{layer}.bias"][1], before[f"{layer}.bias"][0])
    assert not torch.equal(after[f"{layer}.weight"][:, 0], before[f"{layer}.weight"][:, 0])
    assert all(torch.equal(after[name], value) for name, value in before.items() if not name.startswith(layer))


def test_keypoints_need_a_head(tmp_path: Path) -> None:
    path = saved(small_model(), tmp_path)
    with pytest.raises(UserError, match=rf"^{path}: expected a model with a keypoint head, to learn nose; it has none"):
        load_model_for_finetuning(path, ["disc"], keypoint_names=["nose"])


SINGLE_MAP = {"anchors": AnchorConfig(sizes=((16, 32, 64),))}
VARIANTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "faster": ({"mask_head": None}, {"box_head.classifier", "box_head.deltas"}),
    "proposals": ({"mask_head": None, "box_head": None}, set()),
    "c5": ({"neck": "c5", "rpn": SINGLE_MAP}, set(PREDICTORS)),
    "c4": (
        {
            "neck": "c4",
            "rpn": SINGLE_MAP,
            "box_head": {"fully_connected": 0, "pooler": PoolerConfig(output_size=14)},
            "mask_head": {"convolutions": 0, "channels": 8},
        },
        set(PREDICTORS),
    ),
    "convolutions": ({"box_head": {"convolutions": 2, "fully_connected": 1, "norm": "bn"}}, set(PREDICTORS)),
    "one box for all classes": ({"box_head": {"class_agnostic": True}}, set(PREDICTORS) - {"box_head.deltas"}),
    "one mask for all classes": ({"mask_head": {"class_agnostic": True}}, set(PREDICTORS) - {"mask_head.logits"}),
    "softmax": ({"mask_head": {"activation": "softmax"}}, set(PREDICTORS)),
    "mlp": ({"mask_head": {"predictor": "mlp"}}, set(PREDICTORS)),
    "keypoints": ({"keypoint_head": KeypointHeadConfig(channels=8, convolutions=1)}, set(PREDICTORS)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_head_keeps_all_but_the_outputs_of_new_classes(variant: str, tmp_path: Path) -> None:
    changes, layers = VARIANTS[variant]
    path = saved(small_model(**changes), tmp_path)
    model = load_model_for_finetuning(path, ["box", "star", "ring"])
    old, new = load_model(path).state_dict(), model.state_dict()
    assert set(new) == set(old)
    grown = {name.rpartition(".")[0].removeprefix("roi_heads.") for name in new if new[name].shape != old[name].shape}
    assert grown == layers
    for name, value in new.items():
        if value.shape == old[name].shape:
            assert torch.equal(value, old[name]), name
        else:  # disc, box -> box, star, ring
            before, after = old[name].unflatten(0, (3, -1)), value.unflatten(0, (4, -1))
            assert torch.equal(after[:2], before[[0, 2]]), name
    assert model.eval()(images_of((48, 64)))
