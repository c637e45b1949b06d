"""What can be wrong with a data set, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the image

LEFT_OUT = "left out"
KEPT = "kept as it is"
MEASURED_BOX = "bbox measured on the mask"


@dataclass(frozen=True)
class Kind:
    """One way in which data sets are wrong.

    ``severity``: "error" is what training or evaluation refuses; "warning" is what they accept and suffer from;
    "note" is what somebody may want to know.
    """

    name: str
    severity: Severity
    title: str


MISSING_IMAGE = Kind("missing-image", "error", "image files that are not there")
UNDECODABLE_IMAGE = Kind("undecodable-image", "error", "image files that do not decode, or to other channels")
WRONG_IMAGE_SIZE = Kind("wrong-image-size", "error", "images of another size than the annotations say")
INVALID_IMAGE = Kind("invalid-image", "error", "image entries that cannot be read")
DUPLICATE_IMAGE_ID = Kind("duplicate-image-id", "error", "image ids that are used twice")
DUPLICATE_FILE_NAME = Kind("duplicate-file-name", "error", "image files that are listed twice")
INVALID_CATEGORY = Kind("invalid-category", "error", "categories that cannot be read")
DUPLICATE_CATEGORY = Kind("duplicate-category", "error", "category ids or names that are used twice")
INVALID_ANNOTATION = Kind("invalid-annotation", "error", "annotations that cannot be read")
DUPLICATE_ANNOTATION_ID = Kind("duplicate-annotation-id", "error", "annotation ids that are used twice")
UNKNOWN_IMAGE = Kind("unknown-image", "error", "annotations of images that are not listed")
UNKNOWN_CATEGORY = Kind("unknown-category", "error", "annotations of categories that are not listed")
LABEL_OFF_BY_ONE = Kind("label-off-by-one", "error", "category ids that are all one too low or too high")
MISSING_SEGMENTATION = Kind("missing-segmentation", "error", "objects without a mask")
INVALID_POLYGON = Kind("invalid-polygon", "error", "polygons that are none")
INVALID_RLE = Kind("invalid-rle", "error", "run-length encodings that are none, or of another size")
INVALID_MASK_FILE = Kind(
    "invalid-mask-file", "error", "mask files that do not decode, or of another size than their images"
)
INVALID_BOX = Kind("invalid-box", "error", "boxes that are not four finite numbers")
NO_OBJECT = Kind("no-object", "error", "data sets without an object to learn")
UNKNOWN_CLASS_IN_SPLIT = Kind(
    "unknown-class-in-split", "error", "classes of the validation that training does not list"
)

EMPTY_MASK = Kind("empty-mask", "warning", "masks without a pixel: training leaves them out")
ZERO_AREA_BOX = Kind("zero-area-box", "warning", "boxes without area")
BOX_OUT_OF_IMAGE = Kind("box-out-of-image", "warning", "boxes that reach beyond the image")
OUTLINE_OUT_OF_IMAGE = Kind("outline-out-of-image", "warning", "polygons that reach beyond the image")
BOX_OFF_MASK = Kind("box-off-mask", "warning", "boxes that are not those of their masks")
CROSSING_POLYGON = Kind("crossing-polygon", "warning", "polygons whose outline crosses itself")
FRACTIONS = Kind("fractions-of-the-image", "warning", "coordinates from 0 to 1 where pixels are expected")
DUPLICATE_OBJECT = Kind("duplicate-object", "warning", "objects that are annotated twice")
DUPLICATE_IMAGE = Kind("duplicate-image", "warning", "images that occur twice")
CROWD_POLYGON = Kind("crowd-polygon", "warning", "crowds drawn as polygons: often single objects, which are not learnt")
MANY_CROWDS = Kind("many-crowds", "warning", "too many crowds: a crowd is ignored, not learnt")
CLASS_WITHOUT_OBJECTS = Kind("class-without-objects", "warning", "classes without an object to learn")
CLASS_ABSENT_FROM_SPLIT = Kind("class-absent-from-split", "warning", "classes that one of the splits has no object of")
DIFFERENT_CATEGORY_IDS = Kind("different-category-ids", "warning", "classes with other ids in the other split")
BACKGROUND_CLASS = Kind("background-class", "warning", "a class for the background, learnt as if it were objects")
LEAKAGE = Kind("leakage", "warning", "images of the validation that are trained on")
NEAR_LEAKAGE = Kind("near-leakage", "warning", "images of the validation that look like one that is trained on")

AREA_OFF_MASK = Kind("area-off-mask", "note", "areas that are not those of their masks")
ID_GAP = Kind("id-gap", "note", "ids that leave gaps")
SIMILAR_CLASS_NAMES = Kind("similar-class-names", "note", "class names that differ by case or spaces alone")
RARE_CLASS = Kind("rare-class", "note", "classes with few objects")
IMAGE_WITHOUT_OBJECTS = Kind("image-without-objects", "note", "images without objects")
UNLISTED_IMAGE = Kind("unlisted-image", "note", "image files beside the listed ones that no annotation speaks of")

KINDS = tuple(value for value in globals().values() if isinstance(value, Kind))
"""All of them, the severe ones first."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, at one place.

    Attributes:
        kind: what.
        split: "train" or "val".
        file: that holds the annotation.
        text: what was expected and what was found, in one line.
        image: file name of the image that it is about, if it is about one.
        annotation: id or number of the annotation, if it is about one.
        repair: what the repaired copy has in its place.
        box: where to look in the image.
        twin: path of another image that it is about.
    """

    kind: Kind
    split: str
    file: str
    text: str
    image: str = ""
    annotation: int | str | None = None
    repair: str = KEPT
    box: Box | None = None
    twin: str = ""

    def __str__(self) -> str:
        """The file, the annotation, the image, and what is wrong."""
        place = [self.file] if self.annotation is None else [self.file, f"annotation {self.annotation}"]
        image = f" ({self.image})" if self.image else ""
        return f"{': '.join(place)}{image}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = {name: getattr(self, name) for name in ("split", "file", "image", "annotation", "text", "repair")}
        return {"kind": self.kind.name, "severity": self.kind.severity} | values


@dataclass
class Findings:
    """The problems of one split, in the order in which they are found."""

    split: str
    file: str  # what the user named
    problems: list[Problem] = field(default_factory=list)

    def add(self, kind: Kind, text: str, *, file: str | None = None, **where: Any) -> None:
        """Note a problem; ``where`` has the other fields of :class:`Problem`."""
        self.problems.append(Problem(kind, self.split, self.file if file is None else file, text, **where))

    def of(self, kind: Kind) -> list[Problem]:
        """The problems of one kind."""
        return [problem for problem in self.problems if problem.kind is kind]
