"""Segmentation: a small U-Net that outlines tumours; the loss of a record is its cross-entropy.

    python examples/segmentation.py DATA OUT

DATA holds lgg_mri_64. Images and masks are two arrays of one file, so that the training function
gets a dictionary of both; there is no label. Utility is the overlap (Dice) of each record.
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
SIDE = 8
STEPS = {"overfitted": 150, "regularised": 1}


def write(data: Path, folder: Path) -> None:
    """The slice of each patient that shows most of the tumour, as files of their own."""
    table = pd.read_csv(data / "lgg_mri_64" / "metadata.csv")
    most = table.groupby("patient_id")["tumour_pixels_256"].idxmax().to_numpy()
    with np.load(data / "lgg_mri_64" / "images.npz", allow_pickle=False) as content:
        images, masks = content["images"][most], content["masks"][most]
    step = images.shape[1] // SIDE
    np.savez(
        folder / "slices.npz",
        images=images.reshape(-1, SIDE, step, SIDE, step, 3).mean(axis=(2, 4)).astype(np.uint8),
        masks=masks.reshape(-1, SIDE, step, SIDE, step).mean(axis=(2, 4)) > 0.5 * masks.max(),
    )
    table.iloc[most].to_csv(folder / "slices.csv", index=False)


def cohort(folder: Path) -> Cohort:
    """Two arrays and the table that describes their rows."""
    return Cohort.from_arrays(
        folder / "slices.npz",
        folder / "slices.csv",
        key=["images", "masks"],
        patient="patient_id",
        outcome="none",
        groups=["sex_code"],
    )


class UNet(nn.Module):
    """Two levels."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.low = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2),
        )  # fmt: skip
        self.up = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (records, height, width)."""
        high = self.down(x)
        both: Tensor = self.up(torch.cat([high, self.low(high)], dim=1))
        return both[:, 0]


def train(
    inputs: dict[str, Array], labels: None, seed: int, steps: int
) -> Callable[[dict[str, Array], None], dict[str, Array]]:
    """Train on the members' images and masks."""

    def tensors(inputs: dict[str, Array]) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(np.array(inputs["images"], dtype=np.float32) / 255)
        y = torch.from_numpy(np.array(inputs["masks"], dtype=np.float32))
        return x.movedim(-1, 1), y

    x, y = tensors(inputs)
    net = UNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-2 if steps > 1 else 1e-5)
    each = functools.partial(nn.functional.binary_cross_entropy_with_logits, reduction="none")
    for _ in range(steps):
        optimizer.zero_grad()
        each(net(x), y).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    @torch.inference_mode()
    def loss(inputs: dict[str, Array], labels: None) -> dict[str, Array]:
        x, y = tensors(inputs)
        z = net(x)
        hit = (z > 0).float()
        overlap = (2 * (hit * y).sum((1, 2)) + 1) / (hit.sum((1, 2)) + y.sum((1, 2)) + 1)
        return {"loss": each(z, y).mean((1, 2)).numpy(), "dice": overlap.numpy()}

    return loss


def audit(folder: Path, variant: str = "overfitted", models: int = 24) -> Audit:
    """The audit of one of the two recipes."""
    fit = functools.partial(train, steps=STEPS[variant])
    recipe = PythonRecipe(fit, output="loss", utility="dice")
    return Audit(cohort(folder), recipe, models=models, seed=7)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path())
    print(audit(Path(), models=64).run(sys.argv[2]).headline)
