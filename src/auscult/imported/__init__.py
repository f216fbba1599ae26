"""Scores made elsewhere: read, checked, and brought into a run directory."""
