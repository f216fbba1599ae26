"""Checks of recipes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.log_odds import log_odds_of_truth
from auscult.base.plugins import check_words
from auscult.cohort import Cohort, TrainingData
from auscult.recipes.base import Assignment, BlockOutputs, OutputKind, Recipe
from auscult.testing.failing import Subject

RECORDS = 160
FITS = 0.6  # AUC of the truth among members, where one column almost tells it


def check_recipe(recipe: Recipe, cohort: Cohort | None = None) -> None:
    """Check a recipe by training four small models.

    Its settings can be written down; models are the same every time and whoever is trained with
    them; they say something on every record, members or not; what they say fits the truth, in the
    order of the classes, and depends on who was trained on; the data is left as it was, and
    progress adds up.

    Parameters
    ----------
    recipe : Recipe
    cohort : Cohort, optional
        What it can be trained on; by default a table of 160 records of two classes.

    Raises
    ------
    CheckError
        Names the first property that does not hold.
    """
    subject = Subject("recipe", recipe.kind)
    with subject.doing("looking at its words"):
        check_words(type(recipe), type(recipe).__name__)
    data = (_cohort() if cohort is None else cohort).training_data()
    with subject.doing("writing its settings down"):
        settings = json.dumps(recipe.settings(), sort_keys=True, allow_nan=False)
        subject.need(
            settings == json.dumps(recipe.settings(), sort_keys=True), "its settings change"
        )
    with subject.doing("asking whether it supports the data"):
        reason = recipe.supports(data)
    subject.need(reason is None, f"it does not support the data: {reason}; give another cohort")
    blocks = recipe.block_models(data, 16)
    subject.need(isinstance(blocks, int) and 1 <= blocks <= 16, f"its blocks hold {blocks} models")
    before = data.labels.copy(), repr(data), _digest(data)
    block = _assignments(len(data.labels))
    done: list[float] = []
    found = _trained(subject, recipe, data, block, done)
    subject.need(
        (np.array_equal(data.labels, before[0]), repr(data), _digest(data)) == (True, *before[1:]),
        "it changes the data that it is given",
    )
    subject.need(
        abs(sum(done) - len(block)) < 1e-6,
        f"its progress adds up to {sum(done):g} for {len(block)} models",
    )
    _check_form(subject, data, found, len(block))
    again = _trained(subject, recipe, data, block, [])
    subject.need(
        np.array_equal(found.values, again.values),
        "it trains different models every time: all randomness must come from the "
        "assignment's seed",
    )
    alone = _trained(subject, recipe, data, block[1:2], [])
    subject.need(
        np.allclose(found.values[1], alone.values[0], rtol=1e-4, atol=1e-4),
        "a model depends on which models are trained with it",
    )
    subject.need(
        not np.array_equal(found.values[0], found.values[1]),
        "models that were trained on different records give the same answers",
    )
    _check_fit(subject, data, found, block)


def _cohort() -> Cohort:
    rng = np.random.default_rng(11)
    values = rng.normal(size=(RECORDS, 3))
    table = pd.DataFrame(values, columns=["first", "second", "third"])
    table["ill"] = np.where(values[:, 0] + 0.3 * rng.normal(size=RECORDS) > 0, "yes", "no")
    table["patient"] = np.arange(RECORDS) // 2
    return Cohort.from_table(table, patient="patient", label="ill")


def _assignments(records: int) -> list[Assignment]:
    rng = np.random.default_rng(12)
    return [
        Assignment(
            model=number,
            members=np.sort(rng.choice(records, records // 2, replace=False)).astype(np.int64),
            seed=1000 + number,
        )
        for number in range(4)
    ]


def _trained(
    subject: Subject,
    recipe: Recipe,
    data: TrainingData,
    block: Sequence[Assignment],
    done: list[float],
) -> BlockOutputs:
    with subject.doing(f"training {len(block)} models"):
        found = recipe.train_block(data, block, done.append)
    subject.need(isinstance(found, BlockOutputs), f"train_block returns {type(found).__name__}")
    return found


def _digest(data: TrainingData) -> str:
    return data.inputs.fingerprint()


def _check_form(subject: Subject, data: TrainingData, found: BlockOutputs, models: int) -> None:
    values, records = found.values, len(data.labels)
    columns = {
        "softmax": len(data.classes),
        "sigmoid": 1,
        "multilabel": data.labels.shape[-1],
        "signal": 1,
    }
    subject.need(
        found.kind in get_args(OutputKind), f'"{found.kind}" is not a valid kind of output'
    )
    shape = (models, 1, records, columns[found.kind])
    subject.need(
        values.shape == shape or (found.kind == "signal" and values.shape[:3] == shape[:3]),
        f"its outputs have shape {values.shape}; expected (models, queries, records, outputs) = "
        f"{shape}",
    )
    subject.need(np.isfinite(values).all(), "its outputs hold NaN or infinity")


def _check_fit(
    subject: Subject, data: TrainingData, found: BlockOutputs, block: Sequence[Assignment]
) -> None:
    if found.kind == "signal":
        return
    fits = [_fit(data, found, number, one.members) for number, one in enumerate(block)]
    mean = float(np.mean(fits))
    subject.need(
        mean > FITS,
        f"of the records that a model trained on, {100 * mean:.0f}% are more likely than not to "
        "have their own label: the outputs' sign or the order of the classes may be wrong",
    )


def _fit(data: TrainingData, found: BlockOutputs, number: int, members: NDArray[np.int64]) -> float:
    """Share of a model's members whose truth it finds likelier than an average label."""
    outputs = found.values[number, 0, members]
    labels = data.labels[members]
    truth = log_odds_of_truth(outputs, labels, found.kind)
    others = np.random.default_rng(13).permutation(len(labels))
    shuffled = log_odds_of_truth(outputs, labels[others], found.kind)
    differs = truth != shuffled
    return float((truth[differs] > shuffled[differs]).mean()) if differs.any() else 0.5
