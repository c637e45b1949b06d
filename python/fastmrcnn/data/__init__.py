"""COCO annotations and image files to training samples, and the embedded procedural data set."""
