"""Markdown tables of a run, and the documents that show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.results import Results, Row

FULL_HEADER = (
    "| operator | dtype | layout | threads | peer, ms | fastmrcnn, ms | ratio | of the limit | goal | met | results |\n"
    "|---|---|---|---:|---:|---:|---:|---:|---|---|---|"
)
# A document shows a table between these lines, which stay; NAME is a key of TABLES.
BEGIN, END = "<!-- benchmarks: NAME (written by python -m benchmarks --readme) -->", "<!-- /benchmarks -->"


def full_line(row: Row) -> str:
    cells = [
        row.op,
        row.dtype,
        row.layout,
        str(row.threads),
        milliseconds(row.peer_ms) + ("" if row.peer == "torchvision" else f" ({row.peer})"),
        milliseconds(row.ours_ms),
        times(row.ratio),
        share_of_limit(row),
        goal(row),
        verdict(row),
        row.agreement,
    ]
    return f"| {' | '.join(cells)} |"


def full_table(results: Results) -> str:
    """Every row, below what the machine can do at best where a row is held against that."""
    limits = [limits_table(results)] if any(row.bound for row in results.rows) else []
    return "\n\n".join([caption(results), *limits, rows_table(results)])


def rows_table(results: Results) -> str:
    """Every row, and below them which goals were missed."""
    lines = [FULL_HEADER, *(full_line(row) for row in results.rows)]
    goals = [summary(results.rows)] if any(row.goal for row in results.rows) else []
    return "\n\n".join(["\n".join(lines), *goals])


def readme_table(results: Results) -> str:
    """The main rows: a line for each case, and the numbers of threads side by side."""
    threads = sorted({row.threads for row in results.rows})
    first = threads[0]
    header = f"| operator | torchvision, {_threads(first)} | fastmrcnn, {_threads(first)} | ratio |"
    header += "".join(f" ratio, {_threads(count)} |" for count in threads[1:])
    lines = [f"{header} of the limit | goal |", "|---|" + "---:|" * (3 + len(threads)) + "---|"]
    for rows in _by_case(row for row in results.rows if row.in_readme):
        row = rows.get(first)
        if row is None:
            continue
        others = [times(rows[count].ratio) if count in rows else "" for count in threads[1:]]
        name = f"{row.op} {row.dtype} {row.layout}" if row.layout else row.op
        wanted = f"{goal(row)} {'' if row.goal_met else '(missed)'}".strip() if row.goal else ""
        cells = [
            name,
            f"{milliseconds(row.peer_ms)} ms",
            f"{milliseconds(row.ours_ms)} ms",
            times(row.ratio),
            *others,
            share_of_limit(row),
            wanted,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return f"{caption(results)}\n\n" + "\n".join(lines)


def caption(results: Results) -> str:
    versions, machine = results.versions, results.machine
    commands = results.command.split("; ")
    command = (
        f"`{commands[0]}`" if len(commands) == 1 else f"`python -m benchmarks`, in {len(commands)} parts (`--only`)"
    )
    return (
        f"{command}, {results.date}, commit {results.commit}, torch {versions['torch']}, "
        f"torchvision {versions['torchvision']}, {machine['cores']} cores of {machine['cpu']}, "
        f"{versions['instruction set']} kernels."
    )


def limits_table(results: Results) -> str:
    """The probes' rates, a column for each number of threads."""
    columns = [
        {
            **{
                f"{kind}, {size}": f"{rate:.1f} GB/s"
                for kind in ("read", "write", "copy")
                for size, rate in limits[f"{kind}_gb_per_s"].items()
            },
            "read, every core its own cache": f"{limits['own_cache_gb_per_s']:.1f} GB/s",
            "float32 matrix product": f"{limits['gflop_per_s']:.0f} GFLOP/s",
        }
        for limits in results.limits
    ]
    header = "| limit |" + "".join(f" {_threads(limits['threads'])} |" for limits in results.limits)
    lines = [header, "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0]]
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    met = [row for row in rows if row.goal_met]
    missed = [row for row in rows if row.goal_met is False]
    lines = [f"Of {len(met) + len(missed)} rows with a goal, {len(met)} meet it."]
    lines += [
        f"- missed: {' '.join(part for part in (row.op, row.dtype, row.layout) if part)}, {_threads(row.threads)}: "
        f"{times(row.ratio)}, {milliseconds(row.ours_ms)} ms"
        f"{f', {share_of_limit(row)} of the limit' if row.bound else ''}; goal {goal(row)}"
        for row in missed
    ]
    return "\n".join(lines)


TABLES: dict[str, Callable[[Results], str]] = {
    "main rows": readme_table,
    "all rows": full_table,
    "rows without limits": lambda results: f"{caption(results)}\n\n{rows_table(results)}",
}


def rewrite(document: Path, results: Results) -> None:
    """Put the tables that a document's markers name between them; SystemExit where it has no markers."""
    text = document.read_text(encoding="utf-8")
    found = 0
    for name, render in TABLES.items():
        begin = BEGIN.replace("NAME", name)
        pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(END)}", re.DOTALL)
        table = f"{begin}\n\n{render(results)}\n\n{END}"
        text, count = pattern.subn(lambda _, table=table: table, text)
        found += count
    if not found:
        raise SystemExit(f"{document}: expected a line {BEGIN.replace('NAME', 'main rows')!r} and one {END!r}")
    document.write_text(text, encoding="utf-8")


def milliseconds(value: float) -> str:
    """Three digits that mean something, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def times(ratio: float) -> str:
    return f"x{ratio:.0f}" if ratio >= 99.5 else f"x{ratio:.1f}"


def share_of_limit(row: Row) -> str:
    return "" if row.limit_fraction is None else f"{row.limit_fraction:.0%} ({row.bound})"


def goal(row: Row) -> str:
    shown = row.goal
    if row.ours_operators_share is not None:
        shown += f" (operators {row.ours_operators_share:.1%}, peer's {row.peer_operators_share:.1%})"
    return shown


def verdict(row: Row) -> str:
    return {True: "yes", False: "**no**", None: ""}[row.goal_met]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _by_case(rows: Iterable[Row]) -> list[dict[int, Row]]:
    """Rows by number of threads, case by case, in the order in which the cases first appear."""
    cases: dict[tuple[str, str, str], dict[int, Row]] = {}
    for row in rows:
        cases.setdefault((row.op, row.dtype, row.layout), {})[row.threads] = row
    return list(cases.values())
