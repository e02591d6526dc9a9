"""Measurements of a real server process: `python -m benchmarks --help`."""
