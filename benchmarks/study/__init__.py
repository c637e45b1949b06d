"""The paper's claims in miniature, on the embedded data set: `python -m benchmarks.study` (see STUDY.md)."""
