"""Randomness that derives from identity: the audit's seed, a stage and a number, never from order.

Every random draw in Auscult comes from :func:`generator` or :func:`integer_seed`, so that a local,
a resumed and a cluster run draw the same numbers (law 6). Numbers of stages are part of the format
of a run: never renumber one, only add.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stage(IntEnum):
    """What a stream of random numbers is for."""

    MEMBERSHIP = 1
    TRAINING = 2
    SUBSET = 3
    NULL = 4
    BOOTSTRAP_MODELS = 5
    BOOTSTRAP_PATIENTS = 6
    GROUP_PERMUTATION = 7
    DEMO = 8
    SPLIT_HALF = 9
    QUERY = 20
    WITHHOLD = 21
    REFERENCES = 22
    EXPOSURE = 23
    RELEASE = 40
    RECORD_CAP = 40
    PROTECTION = 41
    PROTECTION_CHOICE = 42
    PRIVATE_SAMPLING = 60
    PRIVATE_NOISE = 61
    EMPIRICAL_PAIRS = 62
    AUGMENTATION = 70
    VALIDATION = 71
    BLIND_FOLDS = 120
    BLIND_PATIENTS = 121
    BLIND_TRAINING = 122
    BLIND_NULL = 123


def sequence(seed: int, stage: Stage, *numbers: int) -> np.random.SeedSequence:
    """Seed sequence of a stage.

    Parameters
    ----------
    seed : int
        The audit's seed, or that of a model.
    stage : Stage
    *numbers
        They name the model, patient or replicate within it.
    """
    return np.random.SeedSequence(seed, spawn_key=(int(stage), *numbers))


def generator(seed: int, stage: Stage, *numbers: int) -> np.random.Generator:
    """Generator of a stage.

    Parameters
    ----------
    seed : int
        The audit's seed, or that of a model.
    stage : Stage
    *numbers
        They name the model, patient or replicate within it.
    """
    return np.random.default_rng(sequence(seed, stage, *numbers))


def integer_seed(seed: int, stage: Stage, *numbers: int) -> int:
    """One 31-bit seed for libraries that take an integer (scikit-learn's limit is 2**32 - 1).

    Parameters
    ----------
    seed : int
        The audit's seed, or that of a model.
    stage : Stage
    *numbers
        They name the model, patient or replicate within it.
    """
    return int(sequence(seed, stage, *numbers).generate_state(1, np.uint32)[0] >> 1)
