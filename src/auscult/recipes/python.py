"""Any function of yours: ``train(inputs, labels, seed, ...) -> predict``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, RecipeError
from auscult.cohort import TrainingData
from auscult.cohort.cohort import CLASS_TASKS
from auscult.cohort.inputs import Inputs, NamedInputs, TableInputs
from auscult.recipes.asking import Asking, Options, Supplies, read_signature, supplied
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.recipes.devices import Device, cards_of
from auscult.recipes.failures import explained
from auscult.recipes.fit import FITS, check_measure, from_fit, labels_given
from auscult.recipes.identity import Identity, identify
from auscult.recipes.metrics import Metric, metric_of
from auscult.recipes.outputs import (
    ZEROS,
    from_logits,
    from_probabilities,
    output_kind,
    refuse_probabilities,
)
from auscult.recipes.resolve import beside, from_beside
from auscult.recipes.seeding import seeded, trained
from auscult.recipes.splitting import check_weights

Predict = Callable[..., Any]
Train = Callable[..., Predict]

OUTPUTS = ("probabilities", "logits", *FITS)


class PythonRecipe(Recipe):
    """Train with your own function.

    Parameters
    ----------
    train : callable or str
        ``train(inputs, labels, seed)`` gets the inputs and labels of one model's members and
        returns ``predict``, which gets the inputs of all records. Inputs are a dataframe for
        tables, with the file's columns in its order and types, and an array for images and signals;
        a dictionary of these where a cohort has several. A string is ``"module:function"``, first
        looked up next to the configuration. Arguments with these names are also given: ``groups``
        (patient of each record, as a number), ``classes`` (their names), ``weights`` (of the
        records), ``validation`` (inputs and labels of patients that are held back, a pair),
        ``device`` ("cpu" or "cuda") and ``scratch`` (a folder that is removed when the model has
        predicted). With ``validation``, the other arguments refer to the remaining records.
    output : {"probabilities", "logits", "loss", "score"}
        What ``predict`` returns: shape (records,) or (records, 2) for two classes, (records,
        classes) for more, (records, labels) for several labels. "loss" and "score" are for any
        task: the training function returns ``loss(inputs, labels)``, which gives one number for
        each record, shape (records,), low ("loss") or high ("score") where the model fits it well.
    utility : str or callable, optional
        With "loss" and "score": "mae", "r2", "concordance", "auroc", "dice", "accuracy",
        "module:function", or ``utility(labels, predictions) -> float``, higher for better. The
        function then returns a dictionary: "loss" (or "score"), and "prediction", or the record's
        own "dice" or "accuracy".
    chance : float, optional
        The value of `utility` for a model that has learned nothing, where it is not known.
    folder : path-like, optional
        Where to look for the module first.
    version : str, optional
        Your own version of the code: it vouches for what a digest of the code cannot cover.
    files : sequence of path-like
        Files that the code reads; their content is part of the run's identity.
    validation : float, optional
        Share of the members' patients that is held back if the function asks for it, 0.2 by
        default.
    weights : {"balanced", "patients"}, optional
        Equal weight for every class (the default) or for every patient.
    device : {"auto", "cpu", "cuda"} or sequence of str, optional
        "auto" by default: "cuda" where PyTorch finds one. A list of cards, such as ["cuda:0",
        "cuda:1"], says which are used; a function is told "cuda", and sees its worker's card only.
    """

    kind = "python"
    independent = True
    label = "your own function"

    def __init__(
        self,
        train: Train | str,
        *,
        output: str = "probabilities",
        utility: str | Callable[..., float] | None = None,
        chance: float | None = None,
        folder: Path | str | None = None,
        version: str | None = None,
        files: Sequence[Path | str] = (),
        validation: float | None = None,
        weights: str | None = None,
        device: Device | None = None,
    ) -> None:
        self.train = train
        self.output = output
        self.utility = utility
        self.chance = chance
        self.folder = None if folder is None else Path(folder)
        self.version = version
        self.files = files
        self.validation = validation
        self.weights = weights
        self.device = device

    def settings(self) -> dict[str, Any]:
        """See :meth:`Recipe.settings`; what the function does is part of it."""
        if self.output not in OUTPUTS:
            raise ConfigError(
                f'"{self.output}" is not a kind of output',
                where="recipe.output",
                expected=" or ".join(OUTPUTS),
            )
        settings: dict[str, Any] = {"train": describe(self._function()), "output": self.output}
        metric = self.metric()
        if metric is not None:
            settings["utility"] = metric.column  # what is stored of each record
        settings["code"] = self._identity().digest
        settings |= self._options().settings(self._asking())
        return settings | ({} if self.version is None else {"version": self.version})

    def unseen(self) -> tuple[str, ...]:
        """See :meth:`Recipe.unseen`."""
        return () if self.version is not None else self._identity().unseen

    def draws(self) -> tuple[str, ...]:
        """See :meth:`Recipe.draws`."""
        return self._identity().draws

    def _identity(self) -> Identity:
        return identify(self._function(), self.folder, [Path(file) for file in self.files])

    def scores(self, data: TrainingData) -> bool:
        """See :meth:`Recipe.scores`."""
        return self.output in FITS or super().scores(data)

    def releases(self, data: TrainingData) -> tuple[str, ...]:
        """See :meth:`Recipe.releases`."""
        return (self.output,) if self.output in FITS else super().releases(data)

    def metric(self) -> Metric | None:
        """See :meth:`Recipe.metric`."""
        given = "utility" if self.utility is not None else "chance"
        if self.output not in FITS and (self.utility, self.chance) != (None, None):
            raise ConfigError(
                f'it requires output = "loss" or "score": {self.output} are measured by AUROC',
                where=f"recipe.{given}",
                next_step="Leave it out",
            )
        if self.utility is None:
            if self.chance is not None:
                raise ConfigError("it requires recipe.utility", where="recipe.chance")
            return None
        said = self.utility
        if isinstance(said, str) and ":" in said:
            from auscult.recipes.resolve import resolve

            own = resolve(said, self.folder)
            if not callable(own):
                raise ConfigError(
                    f'"{self.utility}" is not a function',
                    where="recipe.utility",
                    expected="utility(labels, predictions) -> float",
                )
            said = from_beside(own, self.folder)
        return metric_of(said, chance=self.chance)

    def supports(self, data: TrainingData) -> str | None:
        """Why the output does not fit the cohort's outcome; the function itself is not checked."""
        asking = self._asking()
        check_weights(self._options().settings(asking).get("weights"), data)
        if not asking.complete:
            return "the training function does not take inputs, labels and a seed"
        if self.output not in FITS and data.task not in CLASS_TASKS:
            return (
                f'the outcome is "{data.task}", which has no {self.output}: return one number per '
                'record, output = "loss" (or "score")'
            )
        metric = self.metric()
        if metric is not None and metric.tasks and data.task not in metric.tasks:
            return (
                f'the metric "{metric.name}" requires {" or ".join(metric.tasks)}, but the '
                f'outcome is "{data.task}": name another one as recipe.utility'
            )
        return None

    def cards(self) -> tuple[str, ...]:
        """See :meth:`Recipe.cards`; those of a function that asks for `device`."""
        asks = "device" in self._asking().names
        return cards_of(self.device or "auto") if asks else ()

    def _asking(self) -> Asking:
        return read_signature(self._function())

    def _options(self) -> Options:
        return Options(validation=self.validation, weights=self.weights, device=self.device)

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
        function, asking = self._function(), self._asking()
        options = self._options().settings(asking)
        everything = plain_inputs(data.inputs)
        asked = [everything, *(plain_inputs(view) for view in data.views())]
        blocks, zeros, metric = [], 0, self.metric()
        for one in assignments:
            where = f"model {one.model}"

            def part(rows: NDArray[np.int64]) -> tuple[Any, Any]:
                return rows_of(everything, rows), labels_given(data, rows)

            def train(supplies: Supplies, seed: int = one.seed) -> Predict:
                inputs, labels = part(supplies.rows)
                named = dict(supplies.named)
                if "validation" in named:
                    named["validation"] = part(named["validation"])
                if asking.first:
                    given = dict(zip(asking.first, (inputs, labels, seed), strict=True))
                    return function(**given, **named)
                return function(inputs, labels, seed, **named)

            answers = []
            with supplied(asking, options, data, one) as supplies, seeded(one.seed):
                with explained(one.model, "training"):
                    predict = trained(one.seed, partial(train, supplies))
                if not callable(predict):
                    raise RecipeError(
                        f"the training function returned {type(predict).__name__}",
                        where=where,
                        expected="a function predict(inputs)",
                    )
                if self.output in FITS:
                    check_measure(predict, self.output, where)
                for inputs in asked:
                    with explained(one.model, "predicting"):
                        # A copy: what one model writes into its table, the next must not read.
                        given = copied(inputs)
                        if self.output in FITS:
                            fitted = predict(given, labels_given(data))
                        else:
                            predicted = np.asarray(predict(given), dtype=np.float64)
                    if self.output in FITS:
                        values = from_fit(fitted, self.output, metric, len(data.labels), where)
                    elif self.output == "logits":
                        values = from_logits(predicted, data, where)
                        refuse_probabilities(predicted, data, where)
                    else:
                        values, found = from_probabilities(predicted, data, where)
                        zeros += found
                    answers.append(values)
            blocks.append(np.stack(answers))
            advance(1.0)
        return BlockOutputs(
            values=np.stack(blocks).astype(np.float32),
            kind="signal" if self.output in FITS else output_kind(data),
            notes={ZEROS: zeros} if zeros else {},
            facts={"function": function_name(function)} | self._fit_facts(metric),
        )

    def _fit_facts(self, metric: Metric | None) -> dict[str, Any]:
        if self.output not in FITS:
            return {}
        return {"output": self.output} | ({} if metric is None else {"metric": metric.facts()})

    def _function(self) -> Train:
        if not isinstance(self.train, str):
            return self.train
        from auscult.recipes.resolve import resolve

        found = resolve(self.train, self.folder)
        if not callable(found):
            raise RecipeError(
                f'"{self.train}" is not a function',
                where="recipe.train",
                expected="train(inputs, labels, seed) -> predict",
            )
        return found  # type: ignore[no-any-return]


def plain_inputs(inputs: Inputs) -> Any:  # noqa: ANN401
    """Inputs of all records: a dataframe for tables, an array (memory-mapped or not) otherwise.

    A dictionary of these where there are several.
    """
    if isinstance(inputs, NamedInputs):
        return {name: plain_inputs(part) for name, part in inputs.parts.items()}
    if isinstance(inputs, TableInputs):
        return inputs.table()
    if np.array_equal(inputs.rows, np.arange(len(inputs.array))):
        return inputs.array
    return inputs.take(np.arange(len(inputs)))


def several(inputs: NamedInputs) -> str:
    """Why a recipe that reads one input cannot be used."""
    return (
        f"there are several inputs ({', '.join(inputs.parts)}), but it reads one: train with your "
        'own function, kind = "python", which gets a dictionary of them'
    )


def copied(inputs: Any) -> Any:  # noqa: ANN401
    """Inputs whose tables may be written into."""
    if isinstance(inputs, dict):
        return {name: copied(part) for name, part in inputs.items()}
    return inputs.copy() if isinstance(inputs, pd.DataFrame) else inputs


def rows_of(inputs: Any, rows: NDArray[np.int64]) -> Any:  # noqa: ANN401
    """Copy of some rows."""
    if isinstance(inputs, dict):
        return {name: rows_of(part, rows) for name, part in inputs.items()}
    if isinstance(inputs, pd.DataFrame):
        return inputs.iloc[rows].reset_index(drop=True)
    return np.asarray(inputs[rows])


def function_name(function: Callable[..., Any]) -> str:
    """Module and name of a function or class."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}:{name}"


def describe(function: Callable[..., Any]) -> dict[str, str]:
    """Name and SHA-256 of the source of a function's module, or of the function itself."""
    try:
        module = inspect.getmodule(function)
        source = inspect.getsource(
            function if module is None or module.__name__ == "__main__" else module
        )
    except (OSError, TypeError):
        source = ""
    name = function_name(function)
    return {"name": name, "source": hashlib.sha256(source.encode()).hexdigest() if source else ""}
