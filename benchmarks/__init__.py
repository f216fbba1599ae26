"""Measurements of statistics, speed and memory; results in RESULTS.md."""
