"""scikit-survival: the outcome is the structured label that it takes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxPHSurvivalAnalysis

LEAST = 0.1  # of a cumulative hazard: the first of all deaths is alone at its start


def numbers(table: Any) -> Any:  # noqa: ANN401
    """Covariates."""
    return table.select_dtypes("number").to_numpy()


def loss_of(model: Any, horizon: float = np.inf) -> Any:  # noqa: ANN401
    """How far the hazard that a record has gone through is from whether its event happened.

    A density at the very time would be of the members' times alone: Cox's baseline has its steps
    there. Past the horizon nobody is followed up.
    """

    def loss(table: Any, labels: Any) -> Any:  # noqa: ANN401
        labels = followed_up(labels, horizon)
        x = numbers(table)
        hazards = model.predict_cumulative_hazard_function(x, return_array=True)
        hazards = np.concatenate([np.zeros((len(x), 1)), hazards], axis=1)
        at = np.searchsorted(model.unique_times_, labels["time"], side="right")
        gone = hazards[np.arange(len(x)), at]
        lost = gone - labels["event"] * np.log(gone + LEAST)
        return {"loss": lost, "prediction": model.predict(x)}

    return loss


def forest(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
    """Trees down to single deaths, each grown on all members."""
    model = RandomSurvivalForest(30, min_samples_leaf=1, min_samples_split=2, bootstrap=False)
    return loss_of(model.set_params(random_state=seed, n_jobs=1).fit(numbers(inputs), labels))


def followed_up(labels: Any, horizon: float) -> Any:  # noqa: ANN401
    """Times up to the horizon; events after it are not seen."""
    cut = labels.copy()
    cut["time"] = np.minimum(labels["time"], horizon)
    cut["event"] = labels["event"] & (labels["time"] <= horizon)
    return cut


def cox(inputs: Any, labels: Any, seed: int, alpha: float, horizon: float) -> Any:  # noqa: ANN401
    """Cox's regression with a penalty."""
    seen = followed_up(labels, horizon)
    return loss_of(CoxPHSurvivalAnalysis(alpha=alpha).fit(numbers(inputs), seen), horizon)


# Whoever lives longest is alone at the end of the baseline, which tells that they were there.
tied = functools.partial(cox, alpha=100.0, horizon=1.0)
