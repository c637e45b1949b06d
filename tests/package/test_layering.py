"""An upper layer imports lower ones, never the reverse; the operators need torch and numpy alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastmrcnn

PACKAGE = Path(fastmrcnn.__file__).parent

# Low to high. `visualisation` draws arrays and knows nothing of models; `Detections.plot` uses it.
LAYERS = [
    "lazy",
    "errors",
    "locks",
    "files",
    "interrupt",
    "memory",
    "distributed",
    "ops",
    "environment",
    "visualisation",
    "structures",
    "models",
    "weights",
    "data",
    "evaluation",
    "deployment",
    "inference",
    "profiling",
    "training",
    "doctor",
    "demo",
    "cli",
]


def test_the_table_of_layers() -> None:
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page.partition("## Layers")[2].partition("## ")[0], re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == LAYERS


def imported_layers(path: Path) -> set[str]:
    package = ["fastmrcnn", *path.relative_to(PACKAGE).parent.parts]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("fastmrcnn.")}


def package_modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in LAYERS)


def test_every_module_belongs_to_a_layer() -> None:
    found = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in package_modules()}
    assert found == set(LAYERS)


@pytest.mark.parametrize("path", package_modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    rank = LAYERS.index(own)
    for layer in imported_layers(path) & set(LAYERS):
        assert LAYERS.index(layer) <= rank, f"{own} must not import {layer}"


def test_nothing_imports_the_entry_point() -> None:
    for path in package_modules():
        assert "__main__" not in imported_layers(path), path


def test_only_ops_imports_the_extension() -> None:
    for path in package_modules():
        if path.relative_to(PACKAGE).parts[0] not in ("ops", "environment.py"):  # which tells what it was built with
            assert "_C" not in imported_layers(path), path


def loaded_modules(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted(name.split('.')[0] for name in sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return set(output.split())


def test_import_fastmrcnn_is_cheap() -> None:
    assert not loaded_modules("import fastmrcnn") & {"torch", "numpy", "PIL", "matplotlib", "tyro"}


def test_ops_need_torch_and_numpy_alone() -> None:
    assert loaded_modules("import fastmrcnn.ops") - loaded_modules("import torch, numpy") == {"fastmrcnn"}


def test_lazy_names_resolve() -> None:
    for name in fastmrcnn.__all__:
        assert getattr(fastmrcnn, name) is not None
    assert set(fastmrcnn.__all__) <= set(dir(fastmrcnn))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fastmrcnn.nonsense  # noqa: B018
