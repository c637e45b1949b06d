"""The classes of COCO: with the ten ids that are not used, as torchvision numbers them, or without, as others do."""

from __future__ import annotations

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, unused 12, stop
sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, unused 26, backpack,
umbrella, unused 29, unused 30, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, unused 45, wine glass, cup, fork, knife, spoon, bowl,
banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
unused 66, dining table, unused 68, unused 69, toilet, unused 71, tv, laptop, mouse, remote, keyboard, cell phone,
microwave, oven, toaster, sink, refrigerator, unused 83, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush
"""

COCO_CLASSES = tuple(" ".join(name.split()) for name in _NAMES.split(","))  # 90 names, those of the ids 1..90

COCO_80_IDS = tuple(index for index, name in enumerate(COCO_CLASSES, start=1) if not name.startswith("unused"))
COCO_80_CLASSES = tuple(COCO_CLASSES[index - 1] for index in COCO_80_IDS)
