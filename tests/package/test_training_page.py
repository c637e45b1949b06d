"""TRAINING.md, AUGMENTATION.md: their code runs and recipes are the recipes. All pages: commands are commands, and no
option is left out."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from fastmrcnn.cli import main
from fastmrcnn.cli.arguments import parse
from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.deployment import ExportConfig
from fastmrcnn.inference import PredictConfig
from fastmrcnn.profiling import BenchConfig
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.architectures import ARCHITECTURES
from fastmrcnn.training.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page.name for page in sorted(ROOT.glob("*.md")) if "\nfastmrcnn " in page.read_text(encoding="utf-8")]
PAGE = (ROOT / "TRAINING.md").read_text(encoding="utf-8")
RUN = "<!-- run: "
QUICK = ["--steps", "2", "--evaluate-every", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu"]


def commands(text: str) -> list[list[str]]:
    """The words of every fastmrcnn command in the shell blocks, without torchrun's own."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "fastmrcnn" in words:
                found.append(words[words.index("fastmrcnn") + 1 :])
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page takes for granted: train.json, val.json and the images of both in one folder."""
    (tmp_path / "images").mkdir()
    for split in ("train", "val"):
        written = write_dataset(
            tmp_path / split, images=3, seed=5, size=(64, 80), split=split, classes=("ball", "star")
        )
        written.rename(tmp_path / f"{split}.json")
        for image in (tmp_path / split / "images").iterdir():
            shutil.move(image, tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_whole_way_works(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = PAGE.partition(RUN)[2]
    doctor, train, evaluate, predict = commands(
        block.partition("```bash")[1] + block.partition("```bash")[2].split("```")[0] + "```"
    )
    assert [words[0] for words in (doctor, train, evaluate, predict)] == ["doctor", "train", "eval", "predict"]
    assert main(doctor) in (0, 1)  # 1: it found something to warn of
    assert main([*train, *QUICK]) == 0
    assert main(evaluate) == 0
    assert main(predict) == 0
    assert "Average Precision" in capsys.readouterr().out
    assert len(list((folder / "found" / "overlays").iterdir())) == 6
    listed = set(re.findall(r"^\| `([\w./-]+)`", PAGE.partition("## Watching")[2], re.MULTILINE))
    listed |= {"metrics.csv", "last.safetensors", "sessions.json"}  # the second names in their rows
    assert {path.name for path in (folder / "runs" / "mine").iterdir()} <= {name.partition("/")[0] for name in listed}


def test_the_python_block_works(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = PAGE.rpartition(RUN)[2]
    code = re.search(r"```python\n(.*?)```", block, re.DOTALL)
    assert code is not None
    exec(compile(code[1], "TRAINING.md", "exec"), {})
    assert str(Path("runs/python/best.safetensors")) in capsys.readouterr().out


def test_the_blocks_on_augmentation_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "AUGMENTATION.md").read_text(encoding="utf-8")
    [words] = commands(page)
    assert main([*words, *QUICK, "--steps", "1"]) == 0
    assert "page.html" in capsys.readouterr().out
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(compile(code[1], "AUGMENTATION.md", "exec"), names)
    assert {tuple(sample.image.shape) for sample in (names["dataset"][0], names["dataset"][1])} == {(3, 1024, 1024)}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "config.json").write_text('{"train_annotations": "train.json"}')
    found = commands((ROOT / page).read_text(encoding="utf-8"))
    assert found
    for words in found:
        parse(words)


@pytest.mark.parametrize(
    ("config", "pages"),
    [
        (TrainConfig, ("TRAINING.md", "AUGMENTATION.md", "README.md")),
        (PredictConfig, ("PREDICTION.md", "README.md")),
        (ExportConfig, ("DEPLOYMENT.md",)),
        (BenchConfig, ("DEPLOYMENT.md",)),
    ],
)
def test_every_option_has_its_place(config: type[Any], pages: tuple[str, ...]) -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in pages)
    names = [field.name.replace("_", "-") for field in dataclasses.fields(config)]
    assert [name for name in names if not re.search(rf"--(no-)?{name}\b(?!-)", text)] == []


def test_the_table_of_recipes() -> None:
    rows = []
    for name, recipe in RECIPES.items():
        options = recipe.options
        published = f"{recipe.box_ap} / {recipe.mask_ap} " if recipe.box_ap else ""
        rows.append(
            f"| `{name}` | `{options['model']}` | {options['epochs']:.2f} | {recipe.batch_size} | "
            f"{options['learning_rate']} | {published}| [{recipe.source.rpartition('/')[2]}]({recipe.source}) |"
        )
    table = PAGE.partition("<!-- recipes: ")[2].partition("<!-- /recipes -->")[0]
    assert [line for line in table.splitlines() if line.startswith("| `")] == rows
    for name in RECIPES:
        assert f"-m fastmrcnn train --recipe {name} " in PAGE


def test_the_named_architectures_exist() -> None:
    text = PAGE.partition("`--model` knows")[2].partition("An unknown name")[0]
    named = re.findall(r"`([\w/]+)`", text)
    assert len(named) > 8
    assert [name for name in named if name not in ARCHITECTURES] == []
