"""Seeds of foreign code: global generators, and every parameter of an estimator that is a seed.

Models are trained in any order by any number of workers, so each model's seed is all that its
randomness may depend on.
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

SEEDS = ("random_state", "seed", "random_seed")
LATE = ("torch", "keras", "tensorflow")  # have a global generator of their own once they are loaded
# Of these None is one process; their n_jobs, where it is deprecated, warns of anything else. What
# an estimator inherits from scikit-learn's base alone says nothing about its own n_jobs.
SINGLE = ("sklearn.", "imblearn.")
BASES = ("sklearn.base", "sklearn.utils")
Made = TypeVar("Made")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch, and put them back afterwards."""
    torch = sys.modules.get("torch")
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    tensors = None if torch is None else torch.get_rng_state()
    _seed_all(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(tensors)


def trained(seed: int, train: Callable[[], Made]) -> Made:
    """What `train` returns under seeded generators; inside :func:`seeded`.

    Code that imports torch while it trains has drawn from an unseeded generator: it trains again.
    The same holds of Keras and TensorFlow.
    """
    before = _loaded()
    made = train()
    if _loaded() != before:
        _seed_all(seed)
        made = train()
    return made


def _loaded() -> set[str]:
    return {name for name in LATE if name in sys.modules}


def _seed_all(seed: int) -> None:
    # Keras keeps a state of its own, made once per process, and goes on from model to model.
    for name, place in (("keras", "utils.set_random_seed"), ("tensorflow", "random.set_seed")):
        found: Any = sys.modules.get(name)
        for part in place.split("."):
            found = getattr(found, part, None)
        if found is not None:
            found(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def unfitted(estimator: Any) -> Any:  # noqa: ANN401
    """A copy to fit: scikit-learn's clone, or a plain copy of what only behaves like it."""
    from sklearn.base import clone

    if hasattr(estimator, "get_params"):
        return clone(estimator)
    return copy.deepcopy(estimator)


def seed_estimator(estimator: Any, seed: int) -> None:  # noqa: ANN401
    """Give every parameter that is a seed one of its own, and keep it to one process.

    Seeds are `random_state`, `seed` and `random_seed`, also of cross-validators that shuffle, and
    CatBoost's, which it does not list among its parameters.
    """
    listed = hasattr(estimator, "get_params") and hasattr(estimator, "set_params")
    values = estimator.get_params(deep=True) if listed else dict(vars(estimator))
    owners = {"": estimator} | values
    wanted = [name for name in sorted(values) if _last(name) in SEEDS and _is_seed(values[name])]
    split = [name for name in sorted(values) if _shuffles(values[name])]
    boosted = [
        name
        for name, owner in sorted(owners.items(), key=lambda pair: pair[0])
        if type(owner).__module__.startswith("catboost")
        and not any(key in SEEDS for key in owner.get_params())
    ]
    plain = [
        name
        for name, part in sorted(values.items(), key=lambda pair: pair[0])
        if hasattr(part, "fit") and hasattr(part, "__dict__") and not isinstance(part, type)
        if not listed or not hasattr(part, "get_params")
    ]
    count = max(len(wanted) + len(split) + len(boosted) + len(plain), 1)
    drawn = [int(s) for s in np.random.SeedSequence(seed).generate_state(count, np.uint32) >> 1]
    settings: dict[str, Any] = dict(zip(wanted, drawn, strict=False))
    for name, number in zip(split, drawn[len(wanted) :], strict=False):
        settings[name] = copy.copy(values[name])
        settings[name].random_state = number
    for name, number in zip(boosted, drawn[len(wanted) + len(split) :], strict=False):
        prefix = f"{name}__" if name else ""
        settings[f"{prefix}random_seed"] = number
        settings[f"{prefix}thread_count"] = 1
        if owners[name].get_params().get("allow_writing_files") is None:
            # It would write what it learned about members into the current folder.
            settings[f"{prefix}allow_writing_files"] = False
    for name in values:
        if _last(name) == "n_jobs":
            owner = owners.get(name.rpartition("__")[0])
            settings[name] = None if _is_single(owner) else 1
    for name, number in zip(plain, drawn[count - len(plain) :], strict=False):
        seed_estimator(values[name], number)
    if not listed:
        vars(estimator).update(settings)
    elif settings:
        estimator.set_params(**settings)


def _last(name: str) -> str:
    return name.rpartition("__")[2]


def _is_single(owner: Any) -> bool:  # noqa: ANN401
    """Whether an estimator runs in one process where its n_jobs is None."""
    return any(
        one.__module__.startswith(SINGLE) and not one.__module__.startswith(BASES)
        for one in type(owner).__mro__
    )


def _is_seed(value: Any) -> bool:  # noqa: ANN401
    known = (int, np.integer, np.random.RandomState, np.random.Generator)
    return value is None or (isinstance(value, known) and not isinstance(value, bool))


def _shuffles(value: Any) -> bool:  # noqa: ANN401
    """Whether it is a cross-validator that draws: one with a seed and without parameters."""
    return (
        not isinstance(value, type)
        and hasattr(value, "split")
        and hasattr(value, "random_state")
        and not hasattr(value, "get_params")
        and bool(getattr(value, "shuffle", True))
    )
