"""The study on tiny sizes: every variant trains and is measured, and its documents say what the runs found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("torchvision", reason="torchvision is the peer")

from benchmarks.study import program, report
from benchmarks.study.claims import BASELINE, CLAIMS, Claim, Finding, find
from benchmarks.study.data import prepare_scenes
from benchmarks.study.fitting import Start
from benchmarks.study.peer import TorchvisionModel
from benchmarks.study.pretraining import pretrained_backbone
from benchmarks.study.record import Run, Study, read_study
from benchmarks.study.setting import QUICK
from benchmarks.study.variants import VARIANTS, baseline, with_c4, without_masks

IN_CI = ["box_only", "mask_head_last", "torchvision"]
OTHERS = [name for name in VARIANTS if name not in IN_CI]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny scenes, a tiny backbone and the runs are."""
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def start(folder: Path) -> Start:
    scenes = prepare_scenes(folder, QUICK)
    backbone, _ = pretrained_backbone(folder, scenes.crops, QUICK)
    return Start(QUICK, scenes, backbone, folder, seed=3)


def run_quickly(folder: Path, variants: list[str], *others: str) -> Study:
    arguments = ["--quick", "--seeds", "3", "--folder", str(folder), "--json", str(folder / "study.json"), *others]
    assert program.main([*arguments, "--only", *variants]) == 0
    study = read_study(folder / "study.json")
    assert study is not None
    return study


def check_runs(study: Study, variants: list[str]) -> None:
    for variant in variants:
        run = study.of(variant)[3]
        assert [row["step"] for row in run.evaluations] == [1, 2]
        assert [row["step"] for row in run.losses] == [1, 2]
        assert all(row["loss"] > 0 for row in run.losses)
        assert 0 <= run.box["AP"] <= 1
        assert (run.mask["AP"] is None) == (variant == "box_only")
        assert run.images_per_second > 0


def test_parts_of_the_study_run_and_are_not_repeated(folder: Path, start: Start, capsys: Any) -> None:
    study = run_quickly(folder, IN_CI)
    check_runs(study, IN_CI)
    assert study.setting == json.loads(json.dumps(dataclasses.asdict(QUICK)))
    before = (folder / "study.json").read_text()
    capsys.readouterr()
    run_quickly(folder, IN_CI)
    assert "seed 3" not in capsys.readouterr().out
    assert (folder / "study.json").read_text() == before
    # The frozen detector's boxes are those of the run without masks.
    assert study.of("mask_head_last")[3].box == study.of("box_only")[3].box


@pytest.mark.slow
def test_the_other_variants_run(folder: Path, start: Start) -> None:
    check_runs(run_quickly(folder, OTHERS), OTHERS)


def test_another_setting_is_refused(folder: Path, start: Start) -> None:
    with pytest.raises(SystemExit, match=r"expected steps 5; got 2: name another --folder"):
        program.main(["--quick", "--steps", "5", "--folder", str(folder), "--json", str(folder / "other.json")])


def test_runs_of_one_seed_start_from_the_same_weights(start: Start) -> None:
    whole = start.model(baseline(QUICK)).state_dict()
    boxes = start.model(without_masks(baseline(QUICK))).state_dict()
    assert boxes.keys() < whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in boxes.items())
    c4 = start.model(with_c4(baseline(QUICK))).state_dict()
    for name in ("backbone.stages.2.1.conv2.conv.weight", "backbone.stem.conv1.norm.running_var"):
        assert torch.equal(c4[name], whole[name])
    assert torch.equal(c4["roi_heads.res5.1.conv2.conv.weight"], whole["backbone.stages.3.1.conv2.conv.weight"])
    other = dataclasses.replace(start, seed=4).model(baseline(QUICK)).state_dict()
    assert not torch.equal(other["rpn.head.convs.0.weight"], whole["rpn.head.convs.0.weight"])
    assert torch.equal(other["backbone.stem.conv1.conv.weight"], whole["backbone.stem.conv1.conv.weight"])


def test_torchvisions_network_starts_as_ours(start: Start) -> None:
    ours = start.model(baseline(QUICK)).eval()
    theirs = TorchvisionModel(ours).network.eval()
    image = torch.rand(3, QUICK.side, QUICK.side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        batch = ours.transform([image])
        pixels = theirs.transform([image])[0].tensors
        torch.testing.assert_close(pixels, batch.pixels, rtol=0, atol=1e-6)
        features = list(theirs.backbone(pixels).values())
        for expected, found in zip(features, ours.features(batch.pixels), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        regions = torch.rand(2, *theirs.roi_heads.mask_head[0][0].weight.shape[1:2], 14, 14)
        masks = theirs.roi_heads.mask_predictor(theirs.roi_heads.mask_head(regions))
        assert ours.roi_heads is not None
        assert ours.roi_heads.mask_head is not None
        torch.testing.assert_close(ours.roi_heads.mask_head(regions), masks, rtol=1e-4, atol=1e-6)


def made_up(values: dict[str, list[float]]) -> Study:
    """A study whose variants have these mask and box APs by seed."""
    metrics = ("AP", "AP50", "AP75", "AP_small", "AP_medium")
    runs = []
    for variant, series in values.items():
        for seed, value in enumerate(series):
            scores = dict.fromkeys(metrics, value)
            evaluation = {"step": 2, "box_ap": value, "mask_ap": value, "mask_ap50": value}
            losses = [{"step": 2, "loss": 1.0, "loss_classifier": 0.5, "loss_mask": 0.5}]
            runs.append(Run(variant, seed, "abc1234", 60.0, 20.0, scores, scores, [evaluation], losses))
    facts = {"crops": 9, "accuracy": 0.9, "seconds": 1.0}
    return Study(QUICK.to_dict(), facts, {"torch": "2", "instruction set": "avx2"}, runs)


@pytest.mark.parametrize(
    ("others", "verdict"),
    [
        ([0.20, 0.21, 0.19], "reproduced"),
        ([0.20, 0.45, 0.30], "not told from noise"),
        ([0.40, 0.41, 0.39], "opposite"),
        ([0.20, 0.21], "too few seeds"),
    ],
)
def test_a_claim_holds_where_the_interval_of_its_differences_does(others: list[float], verdict: str) -> None:
    claim = Claim("sigmoid", BASELINE, "softmax", "mask AP")
    [finding] = find(made_up({BASELINE: [0.30, 0.30, 0.30], "softmax": others}), [claim])
    assert finding.verdict == verdict
    assert finding.differences == pytest.approx([100 * (0.3 - value) for value in others])


def test_the_interval_is_students() -> None:
    finding = Finding(CLAIMS[0], (1.0, 2.0, 3.0))
    assert finding.mean == 2
    assert finding.reach == pytest.approx(4.303 * 1 / 3**0.5, rel=1e-2)


def test_a_gain_at_one_threshold_is_held_to_that_at_another() -> None:
    study = made_up({BASELINE: [0.3, 0.3], "roi_pool": [0.2, 0.2]})
    for run in study.of("roi_pool").values():
        run.mask.update({"AP50": 0.29, "AP75": 0.24})
    [finding] = find(study, [Claim("more at AP75", BASELINE, "roi_pool", "mask AP75", "mask AP50")])
    assert finding.differences == pytest.approx([5, 5])


def test_the_document_shows_what_was_found(tmp_path: Path) -> None:
    study = made_up({BASELINE: [0.30, 0.31, 0.32], "softmax": [0.20, 0.22, 0.21], "torchvision": [0.30, 0.30, 0.33]})
    document = tmp_path / "STUDY.md"
    document.write_text((program.HERE / "STUDY.md").read_text())
    report.rewrite(document, study)
    text = document.read_text()
    assert (
        "| sigmoid over softmax masks | mask AP | +5.5 (table 2b) | +10.0 ± 2.5 | +9.0 .. +11.0, sd 1.0 | 3 of 3 "
        in text
    )
    assert "equal within noise" in text
    assert "31.0 ± 1.0 (30.0..32.0)" in text
    assert "Nothing has been run yet" not in text
    for name in ("study-differences.png", "study-curves.png"):
        assert (tmp_path / "results" / name).read_bytes().startswith(b"\x89PNG")
    (tmp_path / "other.md").write_text("# Title\n")
    with pytest.raises(SystemExit, match="expected a line"):
        report.rewrite(tmp_path / "other.md", study)
