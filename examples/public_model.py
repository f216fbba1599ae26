"""Attack a published chest X-ray model with one reference model, and see what it proves.

    python examples/public_model.py DATA OUT

DATA holds the two open chest sets, hannover_covid_cxr_64 and covid_chestxray_64 (images.npz and
metadata.csv). The task is the projection, AP or PA. A network trained here stands in for the
published one; with a real one, load its answers instead of training `target`.

Two comparisons are made. In the first, members come from one hospital and non-members from
elsewhere, as in attacks on published models. In the second, members and non-members are two random
halves of one hospital's patients. OUT gets the second as an audit of the release: `auscult run`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.log_odds import log_odds_of_truth
from auscult.base.files import write_bytes
from auscult.blind import BlindBaseline, auc_inside_folds, blind_baseline
from auscult.cohort import TrainingData
from auscult.cohort.inputs import ArrayInputs
from auscult.recipes import TorchRecipe
from auscult.recipes.base import Assignment

PROJECTIONS = {"ap": 0, "AP": 0, "AP Supine": 0, "pa": 1, "PA": 1}
RECIPE: dict[str, Any] = {"model": "cnn", "epochs": 40, "batch_size": 32, "learning_rate": 2e-3}
HALVES = 8
AUDIT = """# The model that goes out, and the hospital's patients, half of whom trained it.

[cohort]
table = "patients.csv"
images = "images.npy"
patient = "patient"
label = "projection"
groups = ["sex"]

[recipe]                       # as the model was trained
kind = "torch"
model = "cnn"
epochs = 40
batch_size = 32
learning_rate = 2e-3

[audit]
models = 64
seed = 7

[release]
door = "file"
path = "answers.npy"
output = "logits"
members = "members.csv"
name = "projection of chest radiographs"
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Radiographs:
    """Images of several places with their projection, patient and place."""

    images: NDArray[np.uint8]
    projection: NDArray[np.int64]
    patient: NDArray[np.str_]
    hannover: NDArray[np.bool_]
    sex: NDArray[np.str_]

    def of(self, kept: NDArray[np.bool_]) -> Radiographs:
        """Some of them."""
        return Radiographs(**{name: value[kept] for name, value in vars(self).items()})

    @property
    def data(self) -> TrainingData:
        """What a recipe sees."""
        rows = np.arange(len(self.images))
        return TrainingData(
            inputs=ArrayInputs(array=self.images, rows=rows, channels="none"),
            labels=self.projection,
            task="binary",
            classes=("AP", "PA"),
        )


def load(folder: Path) -> Radiographs:
    """Both sets. Patients whose radiographs are in both are Hannover's only."""
    parts = []
    for name, column in (("hannover_covid_cxr_64", "projection"), ("covid_chestxray_64", "view")):
        table = pd.read_csv(folder / name / "metadata.csv")
        with np.load(folder / name / "images.npz", allow_pickle=False) as content:
            images = content["images"]
        kept = table[column].isin(PROJECTIONS)
        own = column == "projection"
        if not own:
            copies = table.loc[table["from_hannover"] == 1, "patient_id"]
            kept &= ~table["patient_id"].isin(copies)
        table = table[kept]
        parts.append(
            Radiographs(
                images=images[kept],
                projection=np.array([PROJECTIONS[one] for one in table[column]], dtype=np.int64),
                patient=np.array([f"{name[:3]}-{one}" for one in table["patient_id"]]),
                hannover=np.full(len(table), own),
                sex=table["sex"].fillna("").str.lower().to_numpy(dtype=str),
            )
        )
    return Radiographs(
        **{key: np.concatenate([vars(part)[key] for part in parts]) for key in vars(parts[0])}
    )


def half(patients: NDArray[np.str_], of: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Records of a random half of some of the patients."""
    names = np.unique(patients[of])
    chosen = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
    return np.isin(patients, chosen)


def train(found: Radiographs, members: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Log-odds of PA that models trained on these members give, (models, records, 1)."""
    outputs = TorchRecipe(**RECIPE).train_block(
        found.data,
        [
            Assignment(model=i, members=np.flatnonzero(inside), seed=100 + i)
            for i, inside in enumerate(members)
        ],
        lambda _: None,
    )
    return np.asarray(outputs.values[:, 0], dtype=np.float64)


def attack(
    found: Radiographs, target: NDArray[np.float64], reference: NDArray[np.float64],
    member: NDArray[np.bool_],
) -> tuple[float, float, float]:  # fmt: skip
    """AUC over patients of the target's log-odds of the truth minus the reference's."""
    difference = log_odds_of_truth(target, found.projection, "sigmoid") - log_odds_of_truth(
        reference, found.projection, "sigmoid"
    )
    names, place = np.unique(found.patient, return_inverse=True)
    scores = np.bincount(place, weights=difference) / np.bincount(place)
    side = np.bincount(place, weights=member) > 0
    return auc_inside_folds(scores, side, np.zeros(len(names), dtype=np.int64))


def blind(found: Radiographs, member: NDArray[np.bool_]) -> BlindBaseline:
    """What inputs and labels alone tell."""
    inputs = found.data.inputs
    return blind_baseline(inputs, found.patient, member, labels=found.projection)


def compare(
    found: Radiographs,
) -> tuple[dict[str, object], NDArray[np.float64], NDArray[np.bool_]]:
    """Both comparisons; and of the second one the model's answers and its members."""
    of_reference = half(found.patient, ~found.hannover, 1)
    halves = [half(found.patient, found.hannover, 2 + i) for i in range(HALVES)]
    answers = train(found, [found.hannover, of_reference, *halves])
    everybody, reference, halved = answers[0], answers[1], answers[2:]
    rows: dict[str, object] = {}
    for name, target, kept, member in (
        ("another hospital", everybody, ~of_reference, found.hannover),
        ("the same hospital", halved[0], found.hannover, halves[0]),
    ):
        judged = found.of(kept)
        auc, low, high = attack(judged, target[kept], reference[kept], member[kept])
        alone = blind(judged, member[kept])
        rows[name] = {
            "attack": [auc, low, high],
            "blind": [alone.auc, alone.low, alone.high],
            "members": alone.members,
            "others": alone.others,
            "verdict": alone.verdict(),
        }
    own, at = found.of(found.hannover), found.hannover
    aucs = [
        attack(own, one[at], reference[at], member[at])[0]
        for one, member in zip(halved, halves, strict=True)
    ]
    rows["the same hospital, all halves"] = {
        "attack": float(np.mean(aucs)),
        "standard error": float(np.std(aucs, ddof=1) / len(aucs) ** 0.5),
        "halves": len(aucs),
    }
    return rows, halved[0], halves[0]


def write_audit(
    found: Radiographs, answers: NDArray[np.float64], member: NDArray[np.bool_], out: Path
) -> None:
    """The second comparison as a folder for `auscult run`."""
    own = found.of(found.hannover)
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "images.npy", own.images)
    np.save(out / "answers.npy", answers[found.hannover])
    table = {"patient": own.patient, "projection": own.projection, "sex": own.sex}
    pd.DataFrame(table).to_csv(out / "patients.csv", index=False)
    trained = pd.DataFrame({"patient": np.unique(found.patient[member])})
    write_bytes(out / "members.csv", trained.to_csv(index=False).encode(), secret=True)
    (out / "audit.toml").write_text(AUDIT, encoding="utf-8")


def main() -> None:
    """Compare, tell, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    found = load(given.data)
    rows, answers, member = compare(found)
    write_audit(found, answers, member, given.out)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
