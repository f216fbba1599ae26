"""Signals to scores: per record, per patient, and the curves over all targets."""
