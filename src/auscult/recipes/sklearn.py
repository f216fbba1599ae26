"""scikit-learn recipes: any estimator or pipeline, cloned and fitted once per model."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, RecipeError, one_of
from auscult.cohort import TrainingData
from auscult.cohort.cohort import CLASS_TASKS
from auscult.cohort.inputs import Inputs, NamedInputs, TableInputs
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.recipes.failures import explained
from auscult.recipes.fitted import already_fitted
from auscult.recipes.fitting import Encoded, FitOptions, fitted
from auscult.recipes.identity import Identity, identify
from auscult.recipes.metrics import Metric
from auscult.recipes.outputs import (
    ZEROS,
    from_logits,
    from_probabilities,
    output_columns,
    output_kind,
)
from auscult.recipes.python import plain_inputs, several
from auscult.recipes.regression import R2, no_regressor, predicts_classes, regressed
from auscult.recipes.resolve import beside
from auscult.recipes.seeding import seeded
from auscult.recipes.selecting import unselected

BUILT_IN = {
    "logistic_regression": "sklearn.linear_model:LogisticRegression",
    "random_forest": "sklearn.ensemble:RandomForestClassifier",
    "gradient_boosting": "sklearn.ensemble:HistGradientBoostingClassifier",
    "mlp": "sklearn.neural_network:MLPClassifier",
    "k_neighbours": "sklearn.neighbors:KNeighborsClassifier",
    "gradient_boosting_regressor": "sklearn.ensemble:HistGradientBoostingRegressor",
    "random_forest_regressor": "sklearn.ensemble:RandomForestRegressor",
    "ridge": "sklearn.linear_model:Ridge",
    "mlp_regressor": "sklearn.neural_network:MLPRegressor",
}
PREPROCESSING = ("auto", "encode", "none")
LOG_ODDS_TOLERANCE = 1e-6
RENUMBERED = "models without a member of some class, trained on the classes that they have"


FITTED = "before the audit: its fit is not used, every model is trained anew"


def _is_fitted(estimator: Any) -> bool:  # noqa: ANN401
    """Whether an estimator says of itself that it was fitted before."""
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except Exception:
        return False
    return any(name.endswith("_") and not name.startswith("_") for name in vars(estimator)) or (
        hasattr(estimator, "steps")
    )


class SklearnRecipe(Recipe):
    """Train a scikit-learn estimator or pipeline.

    Parameters
    ----------
    estimator : estimator or str
        Anything with `fit` and `predict_proba` or `decision_function`; a regressor where the
        outcome is a number. A string is a built-in name ("gradient_boosting",
        "logistic_regression", "random_forest", "mlp", "k_neighbours"; "ridge", "mlp_regressor",
        "random_forest_regressor", "gradient_boosting_regressor") or "module:class" (or a function
        that returns an estimator), first looked up next to the configuration.
    preprocess : {"auto", "encode", "none"}
        "encode" puts imputation (median), scaling and one-hot encoding in front of the estimator,
        fitted on each model's own members. "none" passes the dataframe as it is: the file's columns
        in its order, with its types, missing values as NaN. "auto" encodes unless the estimator
        holds a ColumnTransformer. Images are flattened in all cases.
    arguments : mapping, optional
        Keyword arguments of the built-in or of the class or function that a string names.
    fit : mapping, optional
        Keyword arguments of the estimator's `fit`, copied for each model.
    weights : {"balanced", "patients"}, optional
        Give `fit` a `sample_weight`: equal weight for every class, or for every patient.
    validation : float, optional
        Share of each model's patients that is held back and given to `fit` as validation data
        (`eval_set`, or `X_val` and `y_val`), after the preprocessing fitted on the others: for
        early stopping. They still count as members.
    folder : path-like, optional
        Where to look for the module first.
    version : str, optional
        Your own version of the code: it vouches for what a digest of the code cannot cover.
    files : sequence of path-like
        Files that the code reads; their content is part of the run's identity.

    Notes
    -----
    Python's, numpy's and torch's global generators and every parameter that is a seed are set from
    the model's own seed, and every `n_jobs` to one process: models are trained in parallel, in
    processes with one thread each. Splitters by groups (GroupKFold and the like, also inside
    searches) get the patients.
    """

    kind = "sklearn"
    independent = True
    label = "scikit-learn"

    def __init__(
        self,
        estimator: Any = "gradient_boosting",  # noqa: ANN401
        *,
        preprocess: str = "auto",
        arguments: Mapping[str, Any] | None = None,
        fit: Mapping[str, Any] | None = None,
        weights: str | None = None,
        validation: float | None = None,
        folder: Path | str | None = None,
        version: str | None = None,
        files: Sequence[Path | str] = (),
    ) -> None:
        self.estimator = estimator
        self.preprocess = preprocess
        self.arguments = arguments
        self.fit = fit
        self.weights = weights
        self.validation = validation
        self.folder = None if folder is None else Path(folder)
        self.version = version
        self.files = files

    def settings(self) -> dict[str, Any]:
        """See :meth:`Recipe.settings`."""
        estimator = self._estimator()
        shown = re.sub(r" at 0x[0-9a-f]+", "", _shown(estimator))
        settings = {
            **({"fitted": FITTED} if _is_fitted(estimator) else {}),
            "estimator": " ".join(shown.split()),
            "class": f"{type(estimator).__module__}:{type(estimator).__qualname__}",
            "preprocess": "encode" if self._encodes(estimator) else "none",
            "code": self._identity(estimator).digest,
        }
        settings |= self._options().settings()
        return settings | ({} if self.version is None else {"version": self.version})

    def unseen(self) -> tuple[str, ...]:
        """See :meth:`Recipe.unseen`."""
        return () if self.version is not None else self._identity(self._estimator()).unseen

    def draws(self) -> tuple[str, ...]:
        """See :meth:`Recipe.draws`."""
        return self._identity(self._estimator()).draws

    def fitted(self, data: TrainingData, one: Assignment) -> Any:  # noqa: ANN401
        """One model, fitted as for a block: to look at its structure."""
        prototype = self._estimator()
        whole = self._with_encoder(prototype, data)
        path = "" if whole is prototype or isinstance(whole, Encoded) else "model__"
        inputs = _given(data.inputs, whole is prototype and isinstance(data.inputs, TableInputs))
        with seeded(one.seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fitted(whole, inputs, data, one, self._options(), path)[0]

    def _identity(self, estimator: Any) -> Identity:  # noqa: ANN401
        what = (estimator, dict(self.fit)) if self.fit else estimator
        return identify(what, self.folder, [Path(file) for file in self.files])

    def _options(self) -> FitOptions:
        return FitOptions(
            arguments=dict(self.fit or {}), weights=self.weights, validation=self.validation
        )

    def metric(self) -> Metric | None:
        """See :meth:`Recipe.metric`: of a regressor, the explained variance."""
        estimator = self._estimator()
        return R2 if not predicts_classes(estimator) else None

    def supports(self, data: TrainingData) -> str | None:
        """See :meth:`Recipe.supports`."""
        estimator = self._estimator()
        if isinstance(data.inputs, NamedInputs):
            return several(data.inputs)
        known = already_fitted(estimator, self.fit or {})
        if known is not None:
            return known
        if data.task not in CLASS_TASKS:
            refused = no_regressor(estimator, data)
            if refused is None:
                self._options().check(estimator, data)
            return refused
        if not any(hasattr(estimator, name) for name in ("predict_proba", "decision_function")):
            return (
                f"{type(estimator).__name__} has neither probabilities nor a decision function "
                "(scikit-learn's SVC needs probability=True only for the former)"
            )
        if data.task == "multilabel" and not hasattr(estimator, "predict_proba"):
            return f"{type(estimator).__name__} has no probabilities for several labels"
        self._options().check(estimator, data)
        return None

    def train_block(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        """See :meth:`Recipe.train_block`."""
        with beside(self.folder):
            return self._trained(data, assignments, advance)

    def _trained(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        prototype, options = self._estimator(), self._options()
        whole = self._with_encoder(prototype, data)
        path = "" if whole is prototype or isinstance(whole, Encoded) else "model__"
        own = whole is prototype and isinstance(data.inputs, TableInputs)
        inputs = _given(data.inputs, own)
        asked = [inputs, *(_given(view, own) for view in data.views())]
        notes: Counter[str] = Counter()
        blocks, ways = [], set()
        for one in assignments:
            answers = []
            with seeded(one.seed):
                with explained(one.model, "training"), warnings.catch_warnings(record=True) as seen:
                    warnings.simplefilter("always")
                    model, classes, renumbered = fitted(whole, inputs, data, one, options, path)
                notes.update(f"scikit-learn warned: {w.category.__name__}" for w in seen)
                if renumbered:
                    notes[RENUMBERED] += 1
                if own:
                    notes.update(unselected(model, inputs))
                for question in asked:
                    with explained(one.model, "predicting"):
                        where = f"model {one.model}"
                        if data.task == "number":
                            values, zeros, way = regressed(model, question, data, where)
                        else:
                            values, zeros, way = _predict(model, question, data, where, classes)
                    if zeros:
                        notes[ZEROS] += zeros
                    ways.add(way)
                    answers.append(values)
            blocks.append(np.stack(answers))
            advance(1.0)
        return BlockOutputs(
            values=np.stack(blocks).astype(np.float32),
            kind=output_kind(data),
            notes=dict(notes),
            facts={"estimator": type(prototype).__name__, "outputs": " or ".join(sorted(ways))}
            | ({"output": "loss", "metric": R2.facts()} if data.task == "number" else {}),
        )

    def _estimator(self) -> Any:  # noqa: ANN401
        """The estimator itself, made from its name where a name was given."""
        if self.preprocess not in PREPROCESSING:
            raise ConfigError(
                f'"{self.preprocess}" is not a way to preprocess',
                where="recipe.preprocess",
                expected=", ".join(PREPROCESSING),
            )
        estimator = self.estimator
        if isinstance(estimator, str):
            reference = BUILT_IN.get(estimator, estimator)
            if ":" not in reference:
                raise ConfigError(
                    f'there is no built-in estimator "{estimator}"',
                    where="recipe.model",
                    expected=f"a built-in name or module:class; {one_of(estimator, BUILT_IN)}",
                )
            from auscult.recipes.resolve import resolve

            make = resolve(reference, self.folder)
            if callable(make):
                try:
                    with beside(self.folder):
                        estimator = make(**dict(self.arguments or {}))
                except Exception as error:
                    raise RecipeError(
                        f"{reference} cannot be made ({type(error).__name__}: {error})",
                        where="recipe.arguments",
                    ) from error
            else:
                estimator = make
        elif self.arguments:
            raise ConfigError(
                "arguments require an estimator's name, not an estimator",
                where="recipe.arguments",
                next_step="Set them on the estimator itself",
            )
        if isinstance(estimator, type) or not hasattr(estimator, "fit"):
            raise RecipeError(
                f"{getattr(estimator, '__name__', type(estimator).__name__)} is not an estimator",
                where="recipe.model",
                expected="an instance with fit and predict_proba or decision_function",
            )
        return estimator

    def _encodes(self, estimator: Any) -> bool:  # noqa: ANN401
        return self.preprocess == "encode" or (
            self.preprocess == "auto" and not _holds_column_transformer(estimator)
        )

    def _with_encoder(self, estimator: Any, data: TrainingData) -> Any:  # noqa: ANN401
        if not isinstance(data.inputs, TableInputs) or not self._encodes(estimator):
            return estimator
        if not hasattr(estimator, "__sklearn_tags__"):
            return Encoded(table_encoder(data.inputs), estimator)
        from sklearn.pipeline import Pipeline

        return Pipeline([("encode", table_encoder(data.inputs)), ("model", estimator)])


def table_encoder(inputs: TableInputs) -> Any:  # noqa: ANN401
    """Unfitted encoder of a cohort's table.

    Numeric columns: median, missing indicator where the members miss values, scaling. Categorical
    columns: one column per level of the cohort, all zero where missing.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    # Places, since scikit-learn looks every name up in a list of all of them. The frame that the
    # cohort makes holds the numeric columns first.
    numbers = len(inputs.numeric_names)
    parts: list[tuple[str, Any, slice]] = []
    if inputs.numeric_names:
        numeric = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            StandardScaler(),
        )
        parts.append(("numeric", numeric, slice(0, numbers)))
    if inputs.categorical_names:
        levels = [np.array(names, dtype=object) for names in inputs.levels]
        categorical = OneHotEncoder(
            categories=levels, handle_unknown="ignore", sparse_output=False, dtype=np.float32
        )
        place = slice(numbers, numbers + len(inputs.categorical_names))
        parts.append(("categorical", categorical, place))
    return ColumnTransformer(parts, sparse_threshold=0.0)


def _shown(estimator: Any) -> str:  # noqa: ANN401
    """How an estimator describes itself, whole where scikit-learn would shorten it."""
    from sklearn.base import BaseEstimator

    if type(estimator).__repr__ is BaseEstimator.__repr__:
        return str(estimator.__repr__(N_CHAR_MAX=10**6))
    return repr(estimator)


def _holds_column_transformer(estimator: Any) -> bool:  # noqa: ANN401
    from sklearn.compose import ColumnTransformer

    listed = hasattr(estimator, "get_params")
    parts = [estimator, *(estimator.get_params(deep=True).values() if listed else ())]
    return any(isinstance(part, ColumnTransformer) for part in parts)


def _given(inputs: Inputs, own: bool) -> Any:  # noqa: ANN401
    """What an estimator gets: the encoders' columns, or the file's own where it has no encoder."""
    if isinstance(inputs, TableInputs):
        return inputs.table() if own else inputs.frame()
    return _flat(plain_inputs(inputs))


def _flat(inputs: Any) -> Any:  # noqa: ANN401
    """Images and signals as rows of numbers; bytes as 0 to 1."""
    if not isinstance(inputs, np.ndarray):
        return inputs
    rows = np.asarray(inputs).reshape(len(inputs), -1)
    scale = 255.0 if rows.dtype == np.uint8 else 1.0
    return rows.astype(np.float32) / np.float32(scale)


def _predict(
    model: Any,  # noqa: ANN401
    inputs: Any,  # noqa: ANN401
    data: TrainingData,
    where: str,
    classes: NDArray[np.int64],
) -> tuple[NDArray[np.float64], int, str]:
    """Log-odds or log-probabilities on all records, zeros replaced, and where they came from.

    A decision function is finer than probabilities, which round to 0 and 1; but it is used only
    where it is the log-odds of the probabilities, or where there are none.
    """
    decision = None
    known = np.arange(0)
    if data.task != "multilabel":
        own = getattr(model, "classes_", None)
        known = classes[np.arange(len(classes)) if own is None else np.asarray(own, dtype=np.int64)]
    complete = data.task == "multilabel" or len(known) == _classes(data)
    if hasattr(model, "decision_function") and data.task != "multilabel" and complete:
        decision = from_logits(np.asarray(model.decision_function(inputs)), data, where)
    if not hasattr(model, "predict_proba"):
        if decision is None:
            raise RecipeError(
                "no member has one of the classes, and the model has no probabilities",
                where=where,
            )
        return decision, 0, "decision function, taken as log-odds"
    probabilities = model.predict_proba(inputs)
    if isinstance(probabilities, list):  # several labels: one (records, 2) per label
        probabilities = np.stack([_positive(one) for one in probabilities], axis=1)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if not complete:
        full = np.zeros((len(data.labels), _classes(data)))
        if probabilities.shape != (len(full), len(known)):
            raise RecipeError(
                f"probabilities of shape {probabilities.shape}",
                where=where,
                expected=f"shape {(len(full), len(known))}: a column for each class of the members",
            )
        full[:, known] = probabilities
        probabilities = full
    if decision is not None and _same(decision, probabilities, data):
        return decision, 0, "decision function (log-odds)"
    values, zeros = from_probabilities(probabilities, data, where)
    return values, zeros, "probabilities"


def _classes(data: TrainingData) -> int:
    return 2 if data.task == "binary" else output_columns(data)


def _positive(pair: NDArray[np.float64]) -> NDArray[np.float64]:
    if pair.shape[1] == 1:  # members with one value of this label: scikit-learn knows one class
        raise RecipeError(
            "a label has one value only among a model's members",
            expected="both values of each label among the members",
            next_step="Leave the rarest labels out",
        )
    return np.asarray(pair[:, 1], dtype=np.float64)


def _same(
    decision: NDArray[np.float64], probabilities: NDArray[np.float64], data: TrainingData
) -> bool:
    """Whether the decision function is the log-odds of the probabilities."""
    from scipy.special import expit, softmax

    if data.task == "binary":
        implied, shown = expit(decision[:, 0]), probabilities[:, 1]
    else:
        implied, shown = softmax(decision, axis=1), probabilities
    return bool(np.abs(implied - shown).max() <= LOG_ODDS_TOLERANCE)
