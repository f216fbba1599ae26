"""An image and a table together: a slice of the brain, age and sex.

    python examples/image_and_table.py DATA OUT

DATA holds lgg_mri_64. `inputs` names the columns that models read beside the image; the training
function gets {"array": images, "table": dataframe}. The label is death during follow-up.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auscult import Audit, Cohort, PythonRecipe

Array = NDArray[Any]
SIDE = 16
STEPS = {"overfitted": 80, "regularised": 1}


def cohort(data: Path) -> Cohort:
    """The middle slice of each patient, with age and sex."""
    table = pd.read_csv(data / "lgg_mri_64" / "metadata.csv").dropna(
        subset=["death01", "age", "sex_code"]
    )
    middle = table.groupby("patient_id")["row"].median().astype(int).to_numpy()
    with np.load(data / "lgg_mri_64" / "images.npz", allow_pickle=False) as content:
        images = content["images"][middle][..., 1]
    step = images.shape[1] // SIDE
    small = images.reshape(-1, SIDE, step, SIDE, step).mean(axis=(2, 4))
    return Cohort.from_arrays(
        small.astype(np.uint8),
        table.set_index("row").loc[middle].reset_index(),
        inputs=["age", "sex_code"],
        patient="patient_id",
        label="death01",
        groups=["sex_code"],
        source="brain slices with age and sex",
    )


class Both(nn.Module):
    """A branch for each input, joined before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * (SIDE // 2) ** 2, 16), nn.ReLU(),
        )  # fmt: skip
        self.table = nn.Sequential(nn.Linear(2, 8), nn.ReLU())
        self.last = nn.Linear(24, 1)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        """One logit for each record."""
        joined: Tensor = self.last(torch.cat([self.image(image), self.table(table)], dim=1))
        return joined[:, 0]


def train(
    inputs: dict[str, Any], labels: Array, seed: int, steps: int
) -> Callable[[dict[str, Any]], Array]:
    """Train on the members; both inputs are scaled on them."""
    columns = inputs["table"].astype(np.float64)
    mean, spread = columns.mean(), columns.std().replace(0, 1)

    def tensors(inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        image = np.array(inputs["array"], dtype=np.float32)[:, None] / 255
        table = (inputs["table"].astype(np.float64) - mean) / spread
        return torch.from_numpy(image), torch.tensor(table.to_numpy(), dtype=torch.float32)

    given, y = tensors(inputs), torch.tensor(labels).float()
    net = Both()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2 if steps > 1 else 1e-6)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(net(*given), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    @torch.inference_mode()
    def predict(inputs: dict[str, Any]) -> Array:
        return np.asarray(net(*tensors(inputs)).numpy())

    return predict


def audit(data: Path, variant: str = "overfitted", models: int = 24) -> Audit:
    """The audit of one of the two recipes."""
    fit = functools.partial(train, steps=STEPS[variant])
    return Audit(cohort(data), PythonRecipe(fit, output="logits"), models=models, seed=7)


if __name__ == "__main__":
    print(audit(Path(sys.argv[1]), models=64).run(sys.argv[2]).headline)
