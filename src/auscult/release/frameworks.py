"""How each library's file becomes a function that answers records.

A loader gets the path, the cohort's classes, types that skops may load, and where to say that
something is wrong; the function that it returns gets a dataframe or an array.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, one_of
from auscult.readers.values import texts, written
from auscult.release.doors import ReleaseError, named_classes

Predict = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class File:
    """What a loader is told.

    Attributes
    ----------
    path : Path
    classes : tuple of str
        The cohort's.
    trusted : tuple of str
        Types that skops may load.
    where : str
        For messages.
    """

    path: Path
    classes: tuple[str, ...]
    trusted: tuple[str, ...]
    where: str


Loader = Callable[[File], Predict]


def in_order(
    values: NDArray[Any], own: Sequence[object], classes: tuple[str, ...], where: str
) -> NDArray[Any]:
    """Probabilities with their columns in the cohort's order of classes.

    Parameters
    ----------
    values : array, shape (records, classes)
    own : sequence
        The classes as the model names them, in the order of its columns.
    classes : tuple of str
        The cohort's.
    where : str

    Raises
    ------
    ReleaseError
        The model names other classes, which are not the numbers from 0 either.
    """
    names = [written(one) for one in own]
    if values.ndim != 2 or values.shape[1] != len(names):
        return values
    if set(names) == set(classes):
        return values[:, [names.index(name) for name in classes]]
    if names == [str(i) for i in range(len(classes))]:
        return values
    raise ReleaseError(
        f"the model has {len(names)} classes that are not named as the cohort's {len(classes)}",
        where=where,
        expected="the cohort's classes, or 0, 1, 2, ... in their order",
        next_step="Name them alike with cohort.label_groups, or query the model through your own "
        'function: door = "function"',
    )


def columns_of(part: Any, names: Sequence[str], where: str) -> pd.DataFrame:  # noqa: ANN401
    """The columns that a model was trained on, in its order.

    Parameters
    ----------
    part : DataFrame or array
        Inputs of some records.
    names : sequence of str
        Columns that the model asks for.
    where : str
        Key of the configuration, for messages.

    Raises
    ------
    ReleaseError
        The records are no table.
    ConfigError
        The table has not all of them.
    """
    if not isinstance(part, pd.DataFrame):
        raise ReleaseError(
            "the model needs a table, but the records are arrays",
            where=where,
            next_step="Convert them to a dataframe: release.prepare",
        )
    for name in names:
        if name not in part.columns:
            raise ConfigError(
                f'the model was trained on a column "{name}", which is not an input here',
                where=where,
                expected=one_of(name, map(str, part.columns)),
                next_step="Create it in release.prepare",
            )
    return part[list(names)]


def _skops(given: File) -> Predict:
    from skops import io

    unknown = sorted(set(io.get_untrusted_types(file=given.path)) - set(given.trusted))
    if unknown:
        listed = ", ".join(f'"{name}"' for name in unknown[:5])
        raise ReleaseError(
            f"it holds {len(unknown)} types that skops does not trust: {listed}",
            where=given.where,
            expected="types of scikit-learn and numpy",
            next_step="If you know them and trust the file, name them all: release.trusted = "
            f"[{listed}]",
        )
    model = io.load(given.path, trusted=list(given.trusted))
    names = getattr(model, "feature_names_in_", None)

    def predict(part: Any) -> Any:  # noqa: ANN401
        if names is None and isinstance(part, pd.DataFrame):
            raise _nameless(given.where)
        rows = part if names is None else columns_of(part, [*map(str, names)], given.where)
        if hasattr(model, "predict_proba"):
            return in_order(
                np.asarray(model.predict_proba(rows)), model.classes_, given.classes, given.where
            )
        said = np.asarray(model.predict(rows))
        words = np.array([written(one) for one in said.ravel().tolist()])
        return said if said.ndim > 1 else named_classes(words, given.classes, given.where)

    return predict


def _torchscript(given: File) -> Predict:
    import torch

    return _of_torch(torch.jit.load(str(given.path), map_location="cpu").eval())  # type: ignore[no-untyped-call]


def _torch_export(given: File) -> Predict:
    import torch

    return _of_torch(torch.export.load(str(given.path)).module())


def _of_torch(model: Any) -> Predict:  # noqa: ANN401
    import torch

    def predict(part: Any) -> Any:  # noqa: ANN401
        with torch.no_grad():
            rows = (
                torch.from_numpy(np.ascontiguousarray(part))
                if isinstance(part, np.ndarray)
                else part
            )
            return model(rows).detach().cpu().numpy()

    return predict


def _xgboost(given: File) -> Predict:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(str(given.path))
    learner = json.loads(booster.save_config())["learner"]
    objective = str(learner["objective"]["name"])
    if not objective.startswith(("binary:log", "multi:")):
        raise _no_classifier(objective, given.where)
    names = booster.feature_names
    if not names:
        raise _nameless(given.where)
    if "c" in (booster.feature_types or []):
        raise ReleaseError(
            "it was trained on categories, whose numbers the file may not hold",
            where=given.where,
            next_step="Query it through your own function, which encodes them as in training: "
            'door = "function"',
        )
    best = booster.attributes().get("best_iteration")
    rounds = (0, 0) if best is None else (0, int(best) + 1)

    def predict(part: Any) -> Any:  # noqa: ANN401
        rows = columns_of(part, names, given.where)
        return booster.predict(xgboost.DMatrix(rows), iteration_range=rounds)

    return predict


def _lightgbm(given: File) -> Predict:
    import lightgbm

    booster = lightgbm.Booster(model_file=str(given.path))
    lines = booster.model_to_string(num_iteration=1).splitlines()
    objective = next((line[10:] for line in lines if line.startswith("objective=")), "none")
    if not objective.startswith(("binary", "multiclass", "cross_entropy")):
        raise _no_classifier(objective, given.where)
    names = list(booster.feature_name())
    if names == [f"Column_{i}" for i in range(len(names))]:
        raise _nameless(given.where)
    kept = booster.pandas_categorical or []

    def predict(part: Any) -> Any:  # noqa: ANN401
        if not isinstance(part, pd.DataFrame):
            return columns_of(part, names, given.where)
        # LightGBM writes names without spaces.
        rows = columns_of(
            part.rename(columns=lambda name: str(name).replace(" ", "_")), names, given.where
        )
        words = [name for name in names if not pd.api.types.is_numeric_dtype(rows[name])]
        if len(words) != len(kept):
            raise ReleaseError(
                f"the model was trained on {len(kept)} columns of categories, and {len(words)} "
                "hold text here",
                where=given.where,
                next_step="Convert them to the format of the training data: release.prepare",
            )
        return booster.predict(rows.astype(dict.fromkeys(words, "category")))

    return predict


def _catboost(given: File) -> Predict:
    import catboost

    model = catboost.CatBoostClassifier()
    model.load_model(
        str(given.path), format="json" if given.path.suffix.lower() == ".json" else "cbm"
    )
    own = list(model.classes_)
    if len(own) < 2:
        raise _no_classifier("without classes", given.where)
    names = [str(name) for name in model.feature_names_]
    if names == [str(i) for i in range(len(names))]:
        raise _nameless(given.where)
    words = [names[i] for i in model.get_cat_feature_indices()]

    def predict(part: Any) -> Any:  # noqa: ANN401
        rows = columns_of(part, names, given.where).copy()
        for name in words:  # missing ones are a category of their own, called nan
            rows[name] = [one if one is not None else "nan" for one in texts(rows[name])]
        return in_order(np.asarray(model.predict_proba(rows)), own, given.classes, given.where)

    return predict


def _keras(given: File) -> Predict:
    if given.path.suffix.lower() != ".keras":
        raise ReleaseError(
            "only Keras' own format is opened safely; the older ones may hold code",
            where=given.where,
            expected="a file that ends with .keras",
            next_step='Load it where it was created and save it again: model.save("model.keras")',
        )
    if importlib.util.find_spec("tensorflow") is None:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    model = keras.models.load_model(str(given.path), compile=False, safe_mode=True)

    def predict(part: Any) -> Any:  # noqa: ANN401
        return model.predict(part, verbose=0)

    return predict


def _no_classifier(objective: str, where: str) -> ReleaseError:
    return ReleaseError(
        f"it is not a classifier: its objective is {objective}",
        where=where,
        expected="probabilities of classes",
        next_step='If it is one, query it through your own function: door = "function"',
    )


def _nameless(where: str) -> ReleaseError:
    return ReleaseError(
        "the file does not name the columns that the model was trained on",
        where=where,
        expected="a model that was trained on a dataframe",
        next_step='Query it through your own function, which orders them: door = "function"',
    )


LOADERS: dict[str, Loader] = {
    "skops": _skops,
    "torchscript": _torchscript,
    "torch-export": _torch_export,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "keras": _keras,
}
