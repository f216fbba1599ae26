"""Randomness that derives from identity: the audit's seed, a stage and names, never from order.

Every random draw in Auscult comes from :func:`generator` or :func:`integer_seed`, so that a local,
a resumed and a cluster run draw the same numbers (law 6). What is one of several, an attack or a
group of patients, has its stream by its name: where it stands among the others, and which others
there are, changes none of its figures. Models have no other name than their number. Numbers of
stages are part of the format of a run: never renumber one, only add.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum, unique

import numpy as np


@unique
class Stage(IntEnum):
    """What a stream of random numbers is for."""

    MEMBERSHIP = 1
    TRAINING = 2
    SUBSET = 3
    NULL = 4
    BOOTSTRAP_MODELS = 5
    BOOTSTRAP_PATIENTS = 6
    DEMO = 8
    SPLIT_HALF = 9
    QUERY = 20
    WITHHOLD = 21
    REFERENCES = 22
    EXPOSURE = 23
    RECORD_CAP = 40
    PROTECTION = 41
    RELEASE = 42
    PROTECTION_CHOICE = 43
    PRIVATE_SAMPLING = 60
    PRIVATE_NOISE = 61
    EMPIRICAL_PAIRS = 62
    AUGMENTATION = 70
    VALIDATION = 71
    BLIND_FOLDS = 120
    BLIND_PATIENTS = 121
    BLIND_TRAINING = 122
    BLIND_NULL = 123


def sequence(seed: int, stage: Stage, *names: int | str) -> np.random.SeedSequence:
    """Seed sequence of a stage.

    Parameters
    ----------
    seed : int
        The audit's seed, or that of a model.
    stage : Stage
    *names : int or str
        Of the model, attack, group or replicate within the stage.
    """
    key = [word for name in names for word in _words(name)]
    return np.random.SeedSequence(seed, spawn_key=(int(stage), *key))


def generator(seed: int, stage: Stage, *names: int | str) -> np.random.Generator:
    """Generator of a stage.

    Parameters
    ----------
    seed, stage, *names
        As for :func:`sequence`.
    """
    return np.random.default_rng(sequence(seed, stage, *names))


def integer_seed(seed: int, stage: Stage, *names: int | str) -> int:
    """One 31-bit seed for libraries that take an integer (scikit-learn's limit is 2**32 - 1).

    Parameters
    ----------
    seed, stage, *names
        As for :func:`sequence`.
    """
    return int(sequence(seed, stage, *names).generate_state(1, np.uint32)[0] >> 1)


def _words(name: int | str) -> list[int]:
    """A number is its own word; a text has four, of 32 bits each, from its SHA-256."""
    if not isinstance(name, str):
        return [name]
    digest = hashlib.sha256(name.encode()).digest()
    return [int.from_bytes(digest[place : place + 4], "little") for place in range(0, 16, 4)]
