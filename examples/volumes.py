"""Volumes: three-dimensional convolutions over stacks of brain slices.

    python examples/volumes.py DATA OUT

DATA holds lgg_mri_64. Slices are an axis of the array, which stands first; the network puts an axis
of channels in front of it. The label is the tumour's grade.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor, nn

from auscult import Audit, Cohort, TorchRecipe

DEPTH, SIDE = 8, 16
EPOCHS = {"overfitted": 30, "regularised": 1}


def cohort(data: Path) -> Cohort:
    """Eight grey slices of each patient, evenly spaced."""
    table = pd.read_csv(data / "lgg_mri_64" / "metadata.csv")
    with np.load(data / "lgg_mri_64" / "images.npz", allow_pickle=False) as content:
        images = content["images"][..., 1]
    step = images.shape[1] // SIDE
    volumes, first = [], []
    for _, rows in table.dropna(subset=["grade_code"]).groupby("patient_id"):
        chosen = rows.index[np.linspace(0, len(rows) - 1, DEPTH).astype(int)]
        volume = images[chosen].reshape(DEPTH, SIDE, step, SIDE, step).mean(axis=(2, 4))
        volumes.append(volume.astype(np.uint8))
        first.append(rows.index[0])
    return Cohort.from_arrays(
        np.stack(volumes),
        table.loc[first].reset_index(drop=True),
        channels="first",
        patient="patient_id",
        label="grade_code",
        groups=["sex_code"],
        source="brain volumes",
    )


class Network(nn.Module):
    """Two convolutions and two layers."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            nn.Conv3d(1, 8, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv3d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.last = nn.Linear(16 * (DEPTH // 4) * (SIDE // 4) ** 2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of volumes, shape (records, slices, height, width)."""
        found: Tensor = self.last(self.filters(x[:, None]))
        return found


def network(inputs: tuple[int, ...], outputs: int) -> nn.Module:
    """The factory."""
    return Network(outputs)


def audit(data: Path, variant: str = "overfitted", models: int = 24) -> Audit:
    """The audit of one of the two recipes."""
    fit = EPOCHS[variant]
    rate = 2e-3 if fit > 1 else 1e-6
    recipe = TorchRecipe(network, epochs=fit, batch_size=16, learning_rate=rate, device="cpu")
    return Audit(cohort(data), recipe, models=models, seed=7)


if __name__ == "__main__":
    print(audit(Path(sys.argv[1]), models=64).run(sys.argv[2]).headline)
