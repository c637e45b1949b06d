"""The operators and the whole model on a GPU against torchvision: `python -m benchmarks.gpu`."""
