"""What TensorBoard reads of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastmrcnn.errors import UserError
from fastmrcnn.training import TrainConfig, train

MakeConfig = Callable[..., TrainConfig]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_numbers_pictures_and_configuration(make_config: MakeConfig, scenes: Path) -> None:
    pytest.importorskip("tensorboard", reason="reads what was written")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    changes = {"eval_annotations": scenes / "annotations.json", "shown_images": 1, "tensorboard": True}
    train(make_config(steps=1, **changes), progress=False)
    result = train(make_config(steps=2, **changes), resume=True, progress=False)
    events = EventAccumulator(str(result.output / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    for tag, name in {
        "loss/total": "loss",
        "loss/mask": "loss_mask",
        "schedule/learning_rate": "learning_rate",
        "machine/memory_gib": "memory_gib",
        "evaluation/mask_ap50": "mask_ap50",
    }.items():
        expected = [(row["step"], pytest.approx(row[name])) for row in result.metrics if name in row]
        assert [(event.step, event.value) for event in events.Scalars(tag)] == expected
    assert "mask_ap of classes/ball" in tags["scalars"]
    [picture] = tags["images"]
    assert picture == "annotated and found/train_000000.jpg"
    assert [event.step for event in events.Images(picture)] == [1, 2]
    assert any("batch_size" in str(event.tensor_proto.string_val) for event in events.Tensors(tags["tensors"][0]))


def test_without_the_package_the_run_does_not_start(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r": pip install tensorboard$"):
        train(make_config(tensorboard=True), progress=False)
