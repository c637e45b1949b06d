"""All that watches one run, as the loop sees it: rows and evaluations go in, and no failure of a sink comes out."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fastmrcnn import distributed
from fastmrcnn.data import InstanceDataset
from fastmrcnn.errors import UserError, first_line
from fastmrcnn.evaluation import EvaluationResult
from fastmrcnn.inference.progress import progress_bar
from fastmrcnn.models import MaskRCNN
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.watch.bar import ProgressBar
from fastmrcnn.training.watch.page import RunPage
from fastmrcnn.training.watch.showcase import Showcase
from fastmrcnn.training.watch.sink import Evaluated, Row, Sink
from fastmrcnn.training.watch.tables import CsvTable, JsonLines
from fastmrcnn.training.watch.tensorboard import TensorBoard

_log = logging.getLogger(__name__)

_UNWRITTEN = "cannot be written"
RETRY_SECONDS = 30.0  # between attempts of a sink that failed: a full disk is not asked again at every step
# What waits for such a sink at most, the newest of each kind. 10,000 rows take some 10 MiB, the pictures of one
# evaluation as much; one sync after all that waits is as good as many.
MOST_WAITING = {"row": 10_000, "evaluation": 10, "sync": 1, "end": 1}

_Event = Callable[[Sink], None]


class Watchers:
    """Tells every sink what happens.

    A sink that cannot keep up, for a full disk say, does not stop the training: one line says so, what it missed waits
    in memory, as far as ``MOST_WAITING`` lets it, and it is told again when there is room.
    """

    def __init__(
        self, sinks: Sequence[Sink] = (), bar: ProgressBar | None = None, showcase: Showcase | None = None
    ) -> None:
        self._sinks = [_Guarded(sink) for sink in [*sinks, *([bar] if bar else [])]]
        self._bar = bar
        self._showcase = showcase
        self.outcome = "finished"  # where nothing else is said

    def write(self, row: Row) -> None:
        """Tell the row of a training step, of a validation or of an evaluation."""
        self._tell("row", lambda sink: sink.write(row))

    def evaluated(self, step: int, result: EvaluationResult, model: MaskRCNN) -> None:
        """Tell what the evaluation of ``model`` after ``step`` found."""
        event = Evaluated(step, result, self._showcase.draw(model) if self._showcase else ())
        self._tell("evaluation", lambda sink: sink.evaluated(event))

    def sync(self) -> None:
        """What was told until now shall be on the disk: a checkpoint is about to be written."""
        self._tell("sync", lambda sink: sink.sync())

    def say(self, text: str) -> None:
        """A line for the one who looks at the terminal."""
        if self._bar is not None:
            self._bar.say(text)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show ``what`` in place of "train" meanwhile."""
        if self._bar is None:
            yield
            return
        with self._bar.doing(what):
            yield

    def close(self) -> None:
        """Tell how the run ended, and say what could not be kept."""
        for sink in self._sinks:
            sink.tell("end", lambda kept: kept.close(self.outcome))

    def _tell(self, kind: str, event: _Event) -> None:
        for sink in self._sinks:
            sink.tell(kind, event)


@contextmanager
def watching(
    config: TrainConfig,
    *,
    history: Sequence[Row],
    first_step: int,
    total_steps: int,
    eval_data: InstanceDataset | None = None,
    progress: bool = False,
) -> Iterator[Watchers]:
    """The watchers of the run in ``config.output``, which goes on after ``history``, the rows of ``first_step`` steps.

    However the block ends, every sink is told so. Of several processes only the first has any.
    """
    assert config.output is not None
    if not distributed.is_first():
        yield Watchers()
        return
    with progress_bar(total_steps, "train", "step", shown=progress, initial=first_step) as bar:
        sinks: list[Sink] = [
            JsonLines(config.output / "metrics.jsonl", history),
            CsvTable(config.output / "metrics.csv", history),
            RunPage(config.output, history, first_step=first_step, total_steps=total_steps, device=config.device),
        ]
        if config.tensorboard:
            sinks.append(TensorBoard(config.output / "tensorboard", config, first_step=first_step))
        showcase = Showcase(eval_data, config.shown_images) if eval_data and config.shown_images else None
        watchers = Watchers(sinks, ProgressBar(bar), showcase)
        try:
            yield watchers
        except BaseException as error:
            watchers.outcome = outcome_of(error)
            raise
        finally:
            watchers.close()


def outcome_of(error: BaseException) -> str:
    """What ended a run, in a line."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "interrupted"
    if isinstance(error, UserError):
        return f"stopped: {error}"
    return f"failed: {type(error).__name__}: {first_line(error)}"


class _Guarded:
    """One sink and what it has not taken yet."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._waiting: deque[tuple[str, _Event]] = deque()  # each with its kind
        self._lost = 0  # events that would not have fitted into memory
        self._retry_at: float | None = None  # set while the sink fails

    def tell(self, kind: str, event: _Event) -> None:
        self._add(kind, event)
        last = kind == "end"
        if self._retry_at is not None and time.monotonic() < self._retry_at and not last:
            return
        try:
            while self._waiting:
                self._waiting[0][1](self._sink)
                self._waiting.popleft()
            self._retry_at = None
        except (OSError, UserError) as error:
            self._say(error, last=last)
            self._retry_at = time.monotonic() + RETRY_SECONDS
        else:
            if last and self._lost:
                _log.warning("%s: is not complete: %d rows or evaluations are lost", self._sink.name, self._lost)

    def _add(self, kind: str, event: _Event) -> None:
        """Queue an event; the oldest of its kind goes where there are too many."""
        if sum(waiting == kind for waiting, _ in self._waiting) == MOST_WAITING[kind]:
            del self._waiting[next(place for place, (waiting, _) in enumerate(self._waiting) if waiting == kind)]
            self._lost += kind != "sync"
        self._waiting.append((kind, event))

    def _say(self, error: Exception, *, last: bool) -> None:
        # An error that names the file already would name it twice.
        reason = getattr(error, "strerror", None) or first_line(error).removeprefix(
            f"{self._sink.name}: {_UNWRITTEN}: "
        )
        if last:
            _log.warning("%s: is not complete: %s", self._sink.name, reason)
        elif self._retry_at is None:
            _log.warning("%s: cannot be written now, training goes on: %s", self._sink.name, reason)
