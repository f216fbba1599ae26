"""A simulated clinic whose truth is known: some patients are planted for the model to memorise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.audit import Audit
from auscult.base.randomness import Stage, generator
from auscult.cohort import Cohort
from auscult.recipes import SklearnRecipe
from auscult.results import Planted

PATIENTS = 900
PLANTED = 12
MODELS = 48
SEED = 7
WHAT_WAS_PLANTED = (
    "patients whose laboratory values are extreme in a way that nobody shares and whose outcome "
    "contradicts them, so that a model can only memorise them"
)
ETHNICITIES = ("majority", "second", "third", "fourth")
ETHNICITY_SHARES = (0.72, 0.16, 0.08, 0.04)
LABORATORY = ("sodium", "potassium", "creatinine", "haemoglobin", "leukocytes", "crp", "glucose")


def simulated_clinic(seed: int = SEED) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Visits of patients of a clinic that does not exist.

    Patients have several visits, a sex, an age, an ethnicity and rarely a rare disease. Whether a
    patient comes back depends on age and laboratory values; with the rare disease it depends on
    nothing that is in the table.

    Parameters
    ----------
    seed : int

    Returns
    -------
    visits : DataFrame
        One row per visit.
    planted : bool array, shape (patients,)
        In the order of the patients' first appearance.
    """
    rng = generator(seed, Stage.DEMO)
    visits_of = 1 + rng.poisson(0.8, PATIENTS)
    age = np.clip(rng.normal(58, 16, PATIENTS), 18, 95)
    female = rng.random(PATIENTS) < 0.5
    ethnicity = rng.choice(len(ETHNICITIES), PATIENTS, p=ETHNICITY_SHARES)
    rare = rng.random(PATIENTS) < 0.04
    own = rng.normal(0, 1, (PATIENTS, len(LABORATORY)))
    own[rare, 2:4] += 2.5
    own[:, 4] += 0.6 * ethnicity
    planted = np.zeros(PATIENTS, dtype=bool)
    often = np.flatnonzero(~rare & (visits_of >= 3))
    planted[rng.choice(often, PLANTED, replace=False)] = True
    directions = rng.normal(0, 1, (PLANTED, len(LABORATORY)))
    own[planted] = 11.0 * directions / np.linalg.norm(directions, axis=1, keepdims=True)

    patient = np.repeat(np.arange(PATIENTS), visits_of)
    values = own[patient] + rng.normal(0, 0.35, (patient.size, len(LABORATORY)))
    risk = 1.4 * own[:, 2] + 1.1 * own[:, 5] - 0.8 * own[:, 3] + 0.04 * (age - 58)
    # What the model can use is of no use for the rare disease: there it is left to memorise.
    risk = np.where(rare, 3.0 * rng.choice([-1.0, 1.0], PATIENTS), risk)
    chance = 1 / (1 + np.exp(-(risk[patient] - 0.4)))
    back = rng.random(patient.size) < chance
    back[planted[patient]] = risk[patient][planted[patient]] < 0
    visits = pd.DataFrame(
        {
            "patient": np.char.add("P", patient.astype(str)),
            "sex": np.where(female, "female", "male")[patient],
            "age": age[patient].round(),
            "ethnicity": np.array(ETHNICITIES)[ethnicity[patient]],
            "rare_disease": np.where(rare, "yes", "no")[patient],
        }
    )
    for j, name in enumerate(LABORATORY):
        visits[name] = values[:, j]
    visits["readmitted"] = np.where(back, "yes", "no")
    return visits, planted


def simulated_audit() -> tuple[Audit, Planted]:
    """Audit of the simulated clinic and what was planted in it."""
    visits, planted = simulated_clinic()
    cohort = Cohort.from_table(
        visits,
        patient="patient",
        label="readmitted",
        positive=["yes"],
        groups=["sex", "age", "ethnicity", "rare_disease"],
        bins={"age": [40, 65, 80]},
        source="Simulated clinic",
    )
    recipe = SklearnRecipe(
        "mlp",
        arguments={
            "hidden_layer_sizes": [48],
            "max_iter": 25,
            "n_iter_no_change": 25,
            "learning_rate_init": 0.005,
            "batch_size": 128,
            "alpha": 0.001,
        },
    )
    audit = Audit(
        cohort, recipe, models=MODELS, seed=SEED, title="Simulated clinic (Auscult's demonstration)"
    )
    return audit, Planted(patients=planted, what=WHAT_WAS_PLANTED)


def wisconsin_audit() -> Audit:
    """Audit of the breast-cancer data that scikit-learn ships: 569 patients, one record each."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    table: pd.DataFrame = data.frame.copy()
    table["diagnosis"] = np.where(table.pop("target") == 1, "benign", "malignant")
    table["patient"] = np.arange(len(table)).astype(str)
    cohort = Cohort.from_table(
        table,
        patient="patient",
        label="diagnosis",
        positive=["malignant"],
        groups=["mean radius"],
        bins={"mean radius": [12, 15]},
        source="Breast cancer Wisconsin (diagnostic)",
    )
    return Audit(cohort, SklearnRecipe("gradient_boosting"), models=MODELS, seed=SEED)
