"""``fastmrcnn export``: a model as a file for other software."""

from __future__ import annotations

from fastmrcnn.cli.commands import Export
from fastmrcnn.deployment.exporting import Exported, export_file


def export_and_tell(options: Export) -> None:
    """Export, and say what the file takes and gives and how far it lies from the model."""
    done = export_file(options)
    for port in done.interface.inputs_of_file:
        print(f"input:  {port}")
    for port in done.interface.outputs_of_file:
        print(f"output: {port}")
    print(_checked(done))
    megabytes = done.path.stat().st_size / 1e6
    print(f"written to {done.path}: {options.format}, {megabytes:.1f} MB, in {done.seconds:.0f} s")


def _checked(done: Exported) -> str:
    if done.agreement is None:
        return "not checked: --no-check"
    if done.agreement.detections == 0:
        return "checked only where nothing is found: the model detects nothing in these images; name --check-images"
    return f"checked against the model: {done.agreement}"
