"""The training loop, from a configuration to trained weights; it reads from top to bottom."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn

import torch

from fastmrcnn import distributed
from fastmrcnn.data.loader import Batch
from fastmrcnn.errors import UserError
from fastmrcnn.evaluation.keypoints import sigmas_of
from fastmrcnn.files import owned_directory, remove_partial, write_json
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.interrupt import InterruptFlag
from fastmrcnn.training.augmentation import brings_images_to_size
from fastmrcnn.training.batches import check_shares, training_loader
from fastmrcnn.training.checkpoint import save_checkpoint, save_result
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.divergence import report_divergence
from fastmrcnn.training.metrics import read_metrics
from fastmrcnn.training.result import TrainResult
from fastmrcnn.training.resume import new_state, resumed_state
from fastmrcnn.training.samplers import image_order
from fastmrcnn.training.schedule import learning_rate
from fastmrcnn.training.start import next_free_output, open_datasets
from fastmrcnn.training.step import NotFiniteError, take_step, warn_of_slow_float16
from fastmrcnn.training.validation import Validation
from fastmrcnn.training.watch import Row, Watchers, watching
from fastmrcnn.training.watch.memory import memory_row


def train(config: TrainConfig, *, resume: bool = False, progress: bool = True) -> TrainResult:
    """Train a Mask R-CNN as ``config`` says and return what came out.

    Args:
        config: the run; ``config.output`` receives every file.
        resume: continue from the newest checkpoint in ``config.output`` that can be read. On the CPU the continued run
            is bit-identical to one that was never interrupted.
        progress: show a progress bar with losses, learning rate and images per second on stderr.

    Of several processes, which torchrun starts, every one calls this with the same arguments and gets the same result;
    the first of them writes and shows all that there is. The training is that of one process.

    Raises:
        UserError: data, weights or options that cannot work, and a loss that is no longer finite.
        KeyboardInterrupt: Ctrl-C, after a checkpoint of the last finished step was written.

    >>> from fastmrcnn.training import TrainConfig, train
    >>> result = train(TrainConfig("train.json", "images", steps=100))  # doctest: +SKIP
    >>> result.evaluation, result.output / "last.safetensors"  # doctest: +SKIP
    """
    distributed.join()
    with _process_state_kept():
        trainer = Trainer(config, resume=resume, progress=progress)
        with owned_directory(trainer.output) if distributed.is_first() else contextlib.nullcontext():
            return trainer.run()


class Trainer:
    """One run: data, the state of the training and the files in the output folder."""

    def __init__(self, config: TrainConfig, *, resume: bool, progress: bool) -> None:
        check_shares(config)
        self.progress = progress
        self.device = resolve_device(config.device)
        if distributed.is_first():
            warn_of_slow_float16(config, self.device)
        self.train_data, self.eval_data = open_datasets(config)
        self.order = image_order(self.train_data, config)
        self.total_steps = config.total_steps(self.order.epoch_length)
        if resume:
            self.state = resumed_state(config, self.train_data, self.device, total_steps=self.total_steps)
        else:
            self.state = new_state(config, self.train_data, self.device)
        self._read_as_the_model_needs(config)
        transform = self.state.model.transform
        transform.keeps_training_sizes = brings_images_to_size(config, transform.config)
        # Chosen last: what cannot start takes no folder.
        self.output = config.output or distributed.from_first(next_free_output)
        self.checkpoint_every = config.steps_between_checkpoints(self.total_steps)
        self.config = dataclasses.replace(config, output=self.output, checkpoint_every=self.checkpoint_every)
        self.validation: Validation | None = None
        self.watchers = Watchers()  # those of the run, while it runs
        self.kept_step = self.state.step  # of the newest checkpoint
        self.last_step_end = 0.0  # by the monotonic clock
        self.training_seconds = 0.0  # spent in steps, evaluations excluded

    def _read_as_the_model_needs(self, config: TrainConfig) -> None:
        """Channels and keypoints of the samples; what does not fit is told now, not at the first evaluation."""
        known = self.state.model.config
        for data in (self.train_data, self.eval_data):
            if data is not None:
                data.read_pixels_as(known.input.pixel_format)
        sigmas_of(() if known.keypoint_head is None else known.keypoint_head.keypoint_names, config.keypoint_sigmas)
        if known.keypoint_head is not None:
            self.train_data.read_keypoints(known.keypoint_head)
            if self.eval_data is not None and self.eval_data.keypoint_names:
                self.eval_data.read_keypoints(known.keypoint_head)

    def run(self) -> TrainResult:
        """All remaining steps, with checkpoints and evaluations on their way."""
        start, first_step = time.monotonic(), self.state.step
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        history = distributed.from_first(lambda: self._prepare_output(first_step))
        if self.eval_data is not None:
            self.validation = Validation(self.eval_data, self.config, self.output, history)
        with (
            watching(
                self.config,
                history=history,
                first_step=first_step,
                total_steps=self.total_steps,
                eval_data=self.eval_data,
                progress=self.progress,
            ) as self.watchers,
            InterruptFlag() as interrupt,
        ):
            self._train_steps(interrupt)
        metrics = distributed.from_first(self._finish_output)
        images_seen = (self.state.step - first_step) * self.config.batch_size
        return TrainResult(
            output=self.output,
            model=self.state.result.eval(),
            steps=self.state.step,
            seconds=time.monotonic() - start,
            images_per_second=images_seen / max(self.training_seconds, 1e-9),
            evaluation=None if self.validation is None else self.validation.result,
            metrics=metrics,
        )

    def _prepare_output(self, first_step: int) -> list[Row]:
        """Clean up after a run that was cut short; the rows of its metrics that still hold."""
        for folder in (self.output, self.output / "checkpoints"):
            remove_partial(folder)
        write_json(self.output / "config.json", self.config.to_dict(), indent=2, durable=True)
        return read_metrics(self.output / "metrics.jsonl", until=first_step)

    def _finish_output(self) -> list[Row]:
        """Write the trained model; the rows of the run's metrics."""
        save_result(self.state, self.output / "last.safetensors")
        return read_metrics(self.output / "metrics.jsonl")

    def _train_steps(self, interrupt: InterruptFlag) -> None:
        config = self.config
        network = self.state.model.config.input
        batches = iter(training_loader(self.train_data, config, network, self.order, self.state.step))
        if self.validation is not None and not self.validation.is_done(self.state.step):
            self._evaluate_if_due(interrupt)  # a resumed run that was stopped before
        self.last_step_end = time.monotonic()
        while self.state.step < self.total_steps and not self._is_exhausted():
            self.watchers.write(self._step(self._parts_from(batches)))
            if distributed.any_process(interrupt.requested):  # or else some would wait for the others
                self._stop()
            if self.state.step == self.total_steps or _due(self.state.step, self.checkpoint_every):
                self._checkpoint()
            self._evaluate_if_due(interrupt)
            if self._is_exhausted():
                self._stop_early()
            self.last_step_end = time.monotonic()
        if self.validation is not None and self.validation.result is None:  # the resumed run was already complete
            self._evaluate_if_due(interrupt)

    def _parts_from(self, batches: Iterator[Batch]) -> list[Batch]:
        """The parts of the next step."""
        with self._steps_kept(), distributed.failing_together():
            return list(islice(batches, self.config.accumulate))

    def _step(self, parts: list[Batch]) -> Row:
        """One optimizer step and its row of the metrics log; its time includes the wait for the images."""
        step, config = self.state.step, self.config
        waited = time.monotonic() - self.last_step_end
        rate = learning_rate(step, self.total_steps, config)
        try:
            losses = take_step(self.state, parts, config, rate)
        except NotFiniteError as error:
            shares = distributed.gather(parts)
            told = distributed.from_first(partial(report_divergence, error, shares, self.state, config, rate))
            raise UserError(told) from None
        seconds = time.monotonic() - self.last_step_end
        self.training_seconds += seconds
        return {
            "step": step + 1,
            "epoch": round(step * config.batch_size / self.order.epoch_length, 4),
            "learning_rate": rate,
            **losses,
            "images_per_second": round(config.batch_size / seconds, 3),
            "seconds": round(seconds, 4),
            "data_seconds": round(waited, 4),
            **memory_row(self.device),
        }

    def _evaluate_if_due(self, interrupt: InterruptFlag) -> None:
        step, validation = self.state.step, self.validation
        due = step > 0 and (step == self.total_steps or _due(step, self.config.evaluate_every))
        if validation is None or not due:
            return
        alone = distributed.processes() == 1  # several stop together, between two batches
        at_once = interrupt.at_once() if alone else contextlib.nullcontext()
        try:
            with self._steps_kept(), self.watchers.doing("evaluate"), at_once:
                result = validation.measure(self.state, None if alone else partial(_stop_together, interrupt))
        except KeyboardInterrupt:
            self._stop()
        if not validation.is_done(step):
            # The row is told when the best model is safe: without it, a resumed run evaluates again.
            self.watchers.write(validation.keep(self.state))
            self.watchers.evaluated(step, result, self.state.result)

    def _is_exhausted(self) -> bool:
        """No better AP for as long as the user has patience."""
        return self.validation is not None and self.validation.is_exhausted

    def _stop_early(self) -> None:
        assert self.validation is not None
        if self.state.step > self.kept_step:
            self._checkpoint()
        step, ap = self.validation.best()
        self.watchers.outcome = (
            f"stopped early: {self.config.patience} evaluations brought no better AP than {ap:.3f}, of step {step}"
        )
        self.watchers.say(self.watchers.outcome)

    def _checkpoint(self) -> Path:
        self.watchers.sync()
        # The others wait: a process that has ended makes torchrun end those that have not.
        keep = self.config.keep_checkpoints
        folder = distributed.from_first(lambda: save_checkpoint(self.output, self.state, keep=keep))
        self.kept_step = self.state.step
        return folder

    @contextlib.contextmanager
    def _steps_kept(self) -> Iterator[None]:
        """What ends a block in all processes, an image that one cannot read, say, costs no finished step."""
        try:
            yield
        except Exception as error:
            if self.state.step > self.kept_step and not distributed.is_lost_process(error):
                self._checkpoint()
            raise

    def _stop(self) -> NoReturn:
        """Ctrl-C: leave a checkpoint of the last finished step and say how to go on."""
        folder = self._checkpoint()
        self.watchers.say(f"interrupted after step {self.state.step}: wrote {folder}")
        self.watchers.say(f"continue with: fastmrcnn train --resume {self.output}")
        raise KeyboardInterrupt


def _stop_together(interrupt: InterruptFlag) -> None:
    """``KeyboardInterrupt`` in all processes where one of them has had a signal."""
    if distributed.any_process(interrupt.requested):
        raise KeyboardInterrupt


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


@contextlib.contextmanager
def _process_state_kept() -> Iterator[None]:
    """The run seeds PyTorch's global generators and sets its threads; the caller finds both as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
