"""Every operator against torchvision's in one process: `python -m benchmarks` (see README.md here)."""
