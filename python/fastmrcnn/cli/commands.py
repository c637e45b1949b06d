"""The commands: the typed configurations as options, and what is printed. Heavy imports wait until a command runs."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from fastmrcnn.cli.log import log_on_stderr
from fastmrcnn.cli.readable_help import readable_help
from fastmrcnn.demo.config import DemoConfig
from fastmrcnn.deployment.export_config import ExportConfig
from fastmrcnn.doctor.config import DoctorConfig
from fastmrcnn.inference.config import NMSMethod, PredictConfig
from fastmrcnn.profiling.config import BenchConfig
from fastmrcnn.training.config import DataFormat, TrainConfig


@readable_help
@dataclasses.dataclass(frozen=True)
class Demo(DemoConfig):
    """See the whole path in two minutes, without data of your own.

    Draws a data set, segments and evaluates held-out images with the shipped weights, fine-tunes them on new classes,
    segments a photograph, and writes a report.
    """

    def run(self) -> None:
        from fastmrcnn.demo.run import run_demo

        run_demo(self)


@readable_help
@dataclasses.dataclass(frozen=True)
class Train(TrainConfig):
    """Train on your own images: COCO, VIA, LabelMe, YOLO, Pascal VOC or Cityscapes, or masks as image files.

    For example: fastmrcnn train --train-annotations train.json --train-images images
    """

    # A published schedule on COCO: coco-1x, coco-3x, coco-lsj-100ep or coco-lsj-400ep. It sets model, sizes and
    # schedule; the learning rate follows batch_size. What is typed here, or in a file, overrides it.
    recipe: str | None = None
    # JSON file of these options, such as the config.json of an earlier run; options typed here override it.
    config: Path | None = None
    # Continue the run in this folder; options typed here override its own.
    resume: Path | None = None
    # Write a page of the samples of the first steps to this HTML file, augmented as they would be trained on, and train
    # nothing.
    preview: Path | None = None

    def run(self) -> None:
        from fastmrcnn.training.loop import train

        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(TrainConfig)}
        if self.preview is not None:
            from fastmrcnn.training.preview import write_preview

            print(f"{write_preview(TrainConfig(**fields), self.preview)} training samples: {self.preview}")
            return
        with log_on_stderr():  # what is kept of the weights that it starts from
            result = train(TrainConfig(**fields), resume=self.resume is not None)
        if result.images_per_second:
            device = result.model.transform.mean.device
            print(f"trained to step {result.steps} at {result.images_per_second:.1f} images/s on {device}")
        else:
            print(f"had finished already, at step {result.steps}: --epochs or --steps asks for more")
        if result.evaluation is not None:
            print(result.evaluation.table)
        last, best = result.output / "last.safetensors", result.output / "best.safetensors"
        weights = best if result.evaluation is not None and best.exists() else last
        print(f"weights: {last}" if weights == last else f"weights: {best} (the table is of {last})")
        print(f"report:  {result.output / 'report.html'}")
        print(f"next:    fastmrcnn predict IMAGES --weights {weights}")


@readable_help
@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Print the COCO table of a model on your annotated images, in any format that train reads.

    For example: fastmrcnn eval --annotations val.json --images images --weights runs/train-1/best.safetensors
    """

    # What to evaluate on: a file or a folder, see `fastmrcnn train --help`.
    annotations: Path
    # Folder that the names of the images are relative to; the default is where the format has them.
    images: Path | None = None
    # Format of the annotations; the default finds out.
    data_format: DataFormat | None = None
    # Which part of a path that holds several.
    split: str = "val"
    # The shipped weights "tiny", a weights file, or the name of a published model.
    weights: str = "tiny"
    # JSON file to write the numbers to.
    output: Path | None = None
    # Images that go through the network together.
    batch_size: int = 4
    # Objects kept an image; the default is the model's own number, mostly 100.
    max_detections: int | None = None
    # What is done about several boxes on one object: "box" drops the worse ones (NMS), "linear" and "gaussian" lower
    # their scores (soft-NMS), "mask" compares the masks in place of the boxes. The default is the model's own.
    nms: NMSMethod | None = None
    # The overlap (IoU) above which it is done.
    nms_iou: float | None = None
    # Test-time augmentation: look at each image in several sizes, factors of the model's own such as 0.8 1 1.25, and
    # average what is seen.
    tta_scales: tuple[float, ...] = ()
    # Test-time augmentation: look at each image mirrored as well.
    tta_flip: bool = False
    # Of a model with keypoints: how precisely each can be placed, as a share of the object's scale. The default is
    # COCO's for the joints of a body, 0.07 for others.
    keypoint_sigmas: tuple[float, ...] = ()
    # Make the model as fast as this machine allows first (fastmrcnn.optimize), and say what that changes: the table is
    # then that of the faster model.
    fast: bool = False
    # "auto" is CUDA when available; or "cpu", "cuda", "cuda:1", ...
    device: str = "auto"

    def run(self) -> None:
        from fastmrcnn.cli.evaluate import evaluate_files

        evaluate_files(self)


@readable_help
@dataclasses.dataclass(frozen=True)
class Predict(PredictConfig):
    """Segment images and videos: overlays to look at, COCO results, tables, polygons and label images to work with.

    For example: fastmrcnn predict photo.jpg photos "more/*.png" --output found --save coco csv
    """

    # Image files, folders of images, globs such as "photos/**/*.jpg", and lists (.txt) with a path on each line. Of a
    # TIFF every page is an image. Or video files; or a camera such as /dev/video0, or its number; or the address of a
    # stream, such as rtsp://...
    images: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint="")
    ]

    def run(self) -> None:
        from fastmrcnn.distributed import is_first
        from fastmrcnn.inference.stream import predict_files

        with log_on_stderr():  # what --fast does
            summary = predict_files(self)
        for line in summary.broken if is_first() else ():
            print(f"skipped: {line}", file=sys.stderr)
        earlier = f", {summary.earlier} of them by an earlier run" if summary.earlier else ""
        dropped = f", {summary.dropped} dropped" if summary.dropped else ""
        images = f"{summary.images} image{'' if summary.images == 1 else 's'}"
        print(f"{summary.detections} instances in {images}, {summary.pace} on {summary.device}{earlier}{dropped}")
        print(f"written to {summary.output}")


@readable_help
@dataclasses.dataclass(frozen=True)
class Doctor(DoctorConfig):
    """Find what is wrong with a data set before training does, with file and annotation id; count, picture, repair.

    For example: fastmrcnn doctor train.json --images images --val val.json --report page.html --fix repaired
    """

    # What to check: a file or a folder, in any format that train reads.
    dataset: tyro.conf.Positional[Path] = dataclasses.field(kw_only=True)

    def run(self) -> None:
        from fastmrcnn.doctor.run import run_doctor

        code = run_doctor(self.dataset, self)
        if code:
            raise SystemExit(code)


@readable_help
@dataclasses.dataclass(frozen=True)
class Convert:
    """Turn one kind of weights file into another; every weight keeps its bits.

    Where the other software has no place for one, or computes with other settings, it is listed.

    For example: fastmrcnn convert model_final.pth model.safetensors
    """

    # The weights file to read, or the name of a model.
    source: tyro.conf.Positional[str]
    # The file to write; its suffix says of which kind: .safetensors is fastmrcnn's own.
    target: tyro.conf.Positional[Path]
    # Whose file it shall be, where the suffix does not say: "fastmrcnn", "torchvision", "detectron2",
    # "mmdetection" or "matterport".
    format: str | None = None
    # Names of the classes in the order of the outputs, for files that do not hold them.
    class_names: tuple[str, ...] = ()
    # Their ids in the data set.
    category_ids: tuple[int, ...] = ()
    # Store the kernels in 16 bits: half the size, not the same bits; of fastmrcnn's own files.
    half: bool = False

    def run(self) -> None:
        from fastmrcnn.cli.convert import convert_file

        convert_file(self)


@readable_help
@dataclasses.dataclass(frozen=True)
class Export(ExportConfig):
    """Write a model as an ONNX file or a program of torch, and check it against the model.

    The limits of the format are printed first, what goes into the file and comes out of it last.

    For example: fastmrcnn export --weights runs/train-1/best.safetensors --output model.onnx
    """

    def run(self) -> None:
        from fastmrcnn.cli.export import export_and_tell

        export_and_tell(self)


@readable_help
@dataclasses.dataclass(frozen=True)
class Bench(BenchConfig):
    """Show where the time of a prediction goes on this machine: decoding, resizing, each part of the network, masks.

    For example: fastmrcnn bench --model runs/train-1/best.safetensors --size 800 1333 --threads 4 --fast
    """

    def run(self) -> None:
        from fastmrcnn.cli.bench import bench_and_tell

        bench_and_tell(self)
