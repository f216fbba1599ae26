"""Fitting an estimator on a model's members: what its ``fit`` gets besides, and splits by patient.

Estimators are taken as they behave, not by their base class: what ``fit`` can take is read from its
signature.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.cohort import TrainingData
from auscult.recipes.base import Assignment
from auscult.recipes.python import rows_of
from auscult.recipes.seeding import seed_estimator, seeded, trained, unfitted
from auscult.recipes.splitting import (
    check_share,
    check_weights,
    hold_back,
    patients_of,
    weights_of,
)

# How libraries call the inputs and labels to validate on: two arguments, or a list of pairs.
PAIRS = (("X_val", "y_val"), ("eval_X", "eval_y"), ("X_valid", "y_valid"))
SETS = ("eval_set",)


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What ``fit`` gets besides inputs and labels.

    Attributes
    ----------
    arguments : mapping
        Keyword arguments, copied for each model.
    weights : {"balanced", "patients"} or None
        Given as ``sample_weight``.
    validation : float or None
        Share of the members' patients that is held back and given as what to validate on.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    validation: float | None = None

    def settings(self) -> dict[str, Any]:
        """Those that were given, for the run's identity; values are in the digest of the code."""
        check_share(self.validation)
        check_weights(self.weights)
        found: dict[str, Any] = {}
        if self.arguments:
            found["fit"] = sorted(self.arguments)
        if self.weights is not None:
            found["weights"] = self.weights
        if self.validation is not None:
            found["validation"] = self.validation
        return found

    def check(self, estimator: Any, data: TrainingData) -> None:  # noqa: ANN401
        """Raise a ConfigError when an option would be refused or ignored by the estimator."""
        check_weights(self.weights, data)
        last = _last(estimator)
        name = type(last).__name__
        if self.weights is not None and not _takes(last, "sample_weight"):
            raise ConfigError(
                f"{name}.fit takes no sample_weight",
                where="recipe.weights",
                next_step="Many estimators have class_weight among their arguments",
            )
        if self.validation is not None and _validating(last, None, None) is None:
            raise ConfigError(
                f"{name}.fit takes no validation data",
                where="recipe.validation",
                expected=", ".join([*SETS, *(" and ".join(pair) for pair in PAIRS)]),
                next_step="Use a training function: it gets `validation` if it asks for it",
            )


class Encoded:
    """Encoder and estimator in one, for estimators that scikit-learn's Pipeline refuses."""

    def __init__(self, encoder: Any, estimator: Any) -> None:  # noqa: ANN401
        self.encoder = encoder
        self.estimator = estimator

    def fit(self, inputs: Any, labels: NDArray[np.int64], **more: Any) -> Encoded:  # noqa: ANN401
        """Fit the encoder, then the estimator.

        Parameters
        ----------
        inputs : DataFrame or array, shape (records, ...)
        labels : int array, shape (records,)
        **more
            Further arguments of the estimator's `fit`.
        """
        self.estimator.fit(self.encoder.fit_transform(inputs), labels, **more)
        return self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name not in ("classes_", "predict", "predict_proba", "decision_function"):
            raise AttributeError(name)
        found = getattr(self.estimator, name)
        if name == "classes_":
            return found
        return lambda inputs: found(self.encoder.transform(inputs))


class ByPatient:
    """A splitter by groups that knows the groups: the patients of the rows that it splits.

    Whoever holds it need not hand groups through.
    """

    def __init__(self, splitter: Any, patients: NDArray[np.int64]) -> None:  # noqa: ANN401
        self.splitter = splitter
        self.patients = patients

    def split(
        self,
        inputs: Any,  # noqa: ANN401
        labels: Any = None,  # noqa: ANN401
        groups: Any = None,  # noqa: ANN401, ARG002
    ) -> Iterator[Any]:
        """See scikit-learn's splitters; raises a ValueError for other rows than the members'.

        Parameters
        ----------
        inputs : array-like, shape (records, ...)
            All rows of the members.
        labels : array-like, optional
        groups : ignored
            The patients take their place.
        """
        rows = len(inputs) if hasattr(inputs, "__len__") else inputs.shape[0]
        if rows != len(self.patients):
            raise ValueError(
                f"{type(self.splitter).__name__} splits {rows} rows, and the members have "
                f"{len(self.patients)}: their patients are known only if all of them are split, "
                "not inside another split and not after resampling"
            )
        found: Iterator[Any] = self.splitter.split(inputs, labels, self.patients)
        return found

    def get_n_splits(
        self,
        inputs: Any = None,  # noqa: ANN401
        labels: Any = None,  # noqa: ANN401
        groups: Any = None,  # noqa: ANN401, ARG002
    ) -> int:
        """See scikit-learn's splitters.

        Parameters
        ----------
        inputs, labels : array-like, optional
        groups : ignored
            The patients take their place.
        """
        return int(self.splitter.get_n_splits(inputs, labels, self.patients))


def fitted(
    whole: Any,  # noqa: ANN401
    inputs: Any,  # noqa: ANN401
    data: TrainingData,
    one: Assignment,
    options: FitOptions,
    path: str = "",
) -> tuple[Any, NDArray[np.int64], bool]:
    """A fitted model, the classes that its own numbers of classes mean, and whether these differ.

    Some estimators refuse labels with a gap, which members without one of the classes have.

    Parameters
    ----------
    whole : estimator
        Not fitted; a copy is.
    inputs : DataFrame or array
        Of all records.
    data : TrainingData
    one : Assignment
    options : FitOptions
    path : str
        Of the user's own estimator within `whole`, for example ``model__``.
    """
    rows, held = one.members, None
    if options.validation is not None:
        rows, held = hold_back(data, one.members, options.validation, one.seed)
    labels = data.labels[rows]
    given, held_inputs = rows_of(inputs, rows), None if held is None else rows_of(inputs, held)
    weights = None if options.weights is None else weights_of(options.weights, data, rows)

    def fit(asked: NDArray[np.int64], validating: Any) -> Any:  # noqa: ANN401
        model = unfitted(whole)
        seed_estimator(model, one.seed)
        _split_by_patient(model, data, rows)
        more = {path + name: copy.deepcopy(value) for name, value in options.arguments.items()}
        if weights is not None:
            more[_route(model) + "sample_weight"] = weights
        _fit(model, given, asked, more, None if held is None else (held_inputs, validating))
        return model

    present = np.unique(labels)
    numbers = labels.dtype.kind == "f"
    every = np.arange(0 if numbers else present.max() + 1)
    held_labels = None if held is None else data.labels[held]
    try:
        return trained(one.seed, lambda: fit(labels, held_labels)), every, False
    except ValueError:
        if numbers or labels.ndim != 1 or len(present) == len(every):
            raise
    closed = np.searchsorted(present, labels)
    held_closed = None if held_labels is None else np.searchsorted(present, held_labels)
    with seeded(one.seed):
        return trained(one.seed, lambda: fit(closed, held_closed)), present, True


def _fit(
    model: Any,  # noqa: ANN401
    inputs: Any,  # noqa: ANN401
    labels: NDArray[np.int64],
    more: dict[str, Any],
    held: tuple[Any, Any] | None,
) -> None:
    """Fit; what is held back goes through the steps before the estimator, fitted on the others."""
    if held is None:
        model.fit(inputs, labels, **more)
    elif isinstance(model, Encoded):
        seen = model.encoder.fit_transform(inputs)
        _fit(model.estimator, seen, labels, more, (model.encoder.transform(held[0]), held[1]))
    elif _steps(model) is not None and len(model.steps) > 1:
        head, (name, last) = model[:-1], model.steps[-1]
        if any(hasattr(step, "fit_resample") for _, step in head.steps):
            raise ConfigError(
                "the records held back cannot go through a step that resamples",
                where="recipe.validation",
                next_step="Use a training function: it gets `validation` if it asks for it",
            )
        own = {k: v for k, v in more.items() if k.startswith(f"{name}__")}
        rest = {k: v for k, v in more.items() if k not in own}
        seen = head.fit_transform(inputs, labels, **rest)
        model.steps[:-1] = head.steps
        through = (head.transform(held[0]), held[1])
        _fit(last, seen, labels, {k[len(name) + 2 :]: v for k, v in own.items()}, through)
    elif _steps(model) is not None:
        name, last = model.steps[-1]
        _fit(last, inputs, labels, {k[len(name) + 2 :]: v for k, v in more.items()}, held)
    else:
        validating = _validating(_last(model), *held)
        model.fit(inputs, labels, **more, **(validating or {}))


def _steps(model: Any) -> Sequence[Any] | None:  # noqa: ANN401
    """Steps of a pipeline, scikit-learn's or one that is built like it."""
    steps = getattr(model, "steps", None)
    pipeline = isinstance(steps, list) and hasattr(model, "named_steps")
    return steps if pipeline and steps else None


def _searched(model: Any) -> Any:  # noqa: ANN401
    """Estimator of a search, which hands its fit arguments on; None of anything else."""
    search = all(hasattr(model, name) for name in ("estimator", "cv", "refit"))
    return model.estimator if search else None


def _last(model: Any) -> Any:  # noqa: ANN401
    """What finally gets the fit arguments."""
    steps = _steps(model)
    if steps is not None:
        return _last(steps[-1][1])
    if isinstance(model, Encoded):
        return _last(model.estimator)
    searched = _searched(model)
    return model if searched is None else _last(searched)


def _route(model: Any) -> str:  # noqa: ANN401
    """How a fit argument is called so that it reaches the last estimator."""
    steps = _steps(model)
    if steps is not None:
        return f"{steps[-1][0]}__{_route(steps[-1][1])}"
    if isinstance(model, Encoded):
        return _route(model.estimator)
    searched = _searched(model)
    return "" if searched is None else _route(searched)


def _takes(estimator: Any, name: str) -> bool:  # noqa: ANN401
    try:
        parameters = inspect.signature(estimator.fit).parameters
    except (TypeError, ValueError):
        return False
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _validating(estimator: Any, inputs: Any, labels: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Fit arguments for what to validate on, or None where `fit` names none."""
    try:
        parameters = inspect.signature(estimator.fit).parameters
    except (TypeError, ValueError):
        return None
    for first, second in PAIRS:
        if first in parameters and second in parameters:
            return {first: inputs, second: labels}
    for name in SETS:
        if name in parameters:
            return {name: [(inputs, labels)]}
    return None


def _split_by_patient(model: Any, data: TrainingData, rows: NDArray[np.int64]) -> None:  # noqa: ANN401
    """Give every splitter by groups inside a model the patients of its rows."""
    listed = hasattr(model, "get_params") and hasattr(model, "set_params")
    values = model.get_params(deep=True) if listed else dict(vars(model))
    settings: dict[str, Any] = {}
    for name, value in values.items():
        if _needs_groups(value):
            settings[name] = ByPatient(value, patients_of(data)[rows])
        elif _needs_groups(getattr(value, "cv", None)) and not hasattr(value, "get_params"):
            settings[name] = copy.copy(value)
            settings[name].cv = ByPatient(value.cv, patients_of(data)[rows])
        elif not listed and hasattr(value, "fit"):
            _split_by_patient(value, data, rows)
    if not listed:
        vars(model).update(settings)
    elif settings:
        model.set_params(**settings)


def _needs_groups(splitter: Any) -> bool:  # noqa: ANN401
    """Whether a splitter asks for groups: one of scikit-learn's by groups, or one of the user's."""
    if isinstance(splitter, type) or not hasattr(splitter, "split"):
        return False
    from sklearn import model_selection

    names = ("GroupKFold", "StratifiedGroupKFold", "GroupShuffleSplit", "LeaveOneGroupOut")
    by_groups = tuple(getattr(model_selection, name) for name in (*names, "LeavePGroupsOut"))
    if isinstance(splitter, by_groups):
        return True
    if type(splitter).__module__.startswith("sklearn.") or not hasattr(splitter, "get_n_splits"):
        return False
    try:
        return "groups" in inspect.signature(splitter.split).parameters
    except (TypeError, ValueError):
        return False
