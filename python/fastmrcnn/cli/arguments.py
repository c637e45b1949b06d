"""From the words of a command line to one of the commands."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from fastmrcnn.cli.commands import Bench, Convert, Demo, Doctor, Evaluate, Export, Predict, Train
from fastmrcnn.errors import UserError
from fastmrcnn.training.config import read_config_fields
from fastmrcnn.training.recipes import recipe_options

DESCRIPTION = """Mask R-CNN: segment images, train on your own data, evaluate.

Start with `fastmrcnn demo`. Each command has its own help: `fastmrcnn train --help`."""

Command = Demo | Doctor | Train | Evaluate | Predict | Convert | Export | Bench

_COMMANDS: Any = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("eval")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


def parse(words: Sequence[str]) -> Command:
    """The command that ``words`` name, with its options checked.

    Raises ``UserError`` for a value that a configuration refuses; prints help or the usage error of the parser and
    raises ``SystemExit`` otherwise.
    """
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            command: Command = tyro.cli(
                _COMMANDS,
                prog="fastmrcnn",
                description=DESCRIPTION,
                args=with_config_files(words),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as end:
        refused = _cause(end)
        if refused is not None:
            raise refused from None
        sys.stderr.write(complaints.getvalue())
        raise
    return command


def with_config_files(words: Sequence[str]) -> list[str]:
    """``fastmrcnn train``: the options of ``--recipe``, ``--resume`` and ``--config`` put before the ones typed.

    Of an option that is given twice the parser takes the last, so what is typed wins, then what a file says.
    """
    if not words or words[0] != "train":
        return list(words)
    options: dict[str, Any] = {}
    recipe, config, resume = (_value_of(option, words) for option in ("--recipe", "--config", "--resume"))
    if resume is not None:
        saved = Path(resume) / "config.json"
        if not saved.exists():
            raise UserError(f"{resume}: expected the output folder of a training run; there is no config.json in it")
        options |= read_config_fields(saved)
    if config is not None:
        stronger = read_config_fields(Path(config))
        if "epochs" in stronger:  # which steps would override
            options.pop("steps", None)
        options |= stronger
    if _value_of("--epochs", words) is not None:
        options.pop("steps", None)
    if resume is not None:
        options["output"] = resume  # the folder may have moved since it was written
    if recipe is not None:
        if resume is not None:
            raise UserError(f"recipe cannot be given when a run is resumed: {resume} has its options")
        options = _of_recipe(recipe, options, words) | options
    return [words[0], *_as_words(options), *words[1:]]


def _of_recipe(name: str, options: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """What the recipe sets, knowing what a file and the command line set."""
    fields = ("weights", "model", "min_size")
    chosen = {name for name in fields if options.get(name) or _value_of(f"--{name.replace('_', '-')}", words)}
    typed = _value_of("--batch-size", words)
    try:
        batch_size = options.get("batch_size") if typed is None else int(typed)
    except ValueError:
        batch_size = None  # which the parser refuses
    return recipe_options(name, batch_size, chosen)


def _value_of(option: str, words: Sequence[str]) -> str | None:
    """The value of ``--option value`` or ``--option=value``, the last one."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == option:
            found = following
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


def _as_words(options: dict[str, Any]) -> list[str]:
    words = []
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
            continue
        words.append(f"--{option}")
        words.extend(map(str, value) if isinstance(value, tuple) else [str(value)])
    return words


def _cause(error: BaseException | None) -> UserError | None:
    """The ``UserError`` that a parser's error was raised for."""
    while error is not None and not isinstance(error, UserError):
        error = error.__context__
    return error
