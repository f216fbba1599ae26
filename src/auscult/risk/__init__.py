"""Scores to one row per patient, with uncertainty."""
