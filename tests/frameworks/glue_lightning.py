"""Lightning: its Trainer, module and callbacks, in a function."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Visits(lightning.LightningModule):  # type: ignore[misc]
    """Two layers with dropout, and their training."""

    def __init__(self, columns: int, rate: float, decay: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(columns, 256), nn.ReLU(), nn.Dropout(0.02), nn.Linear(256, 1)
        )
        self.rate, self.decay = rate, decay

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.layers(x)
        return out[:, 0]

    def training_step(self, batch: Any, _: int) -> Tensor:  # noqa: ANN401
        """Loss of a batch."""
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, _: int) -> None:  # noqa: ANN401
        """Loss of a batch of patients that are held back."""
        lost = nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])
        self.log("held", lost, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.rate, weight_decay=self.decay)


def numbers(table: Any) -> Tensor:  # noqa: ANN401
    """What the layers take."""
    return torch.tensor(table.select_dtypes("number").to_numpy(dtype=np.float32))


def rows(table: Any, labels: Any, *, shuffle: bool) -> Any:  # noqa: ANN401
    """Batches."""
    parts = TensorDataset(numbers(table), torch.from_numpy(labels).float())
    return DataLoader(parts, batch_size=30, shuffle=shuffle)


def predict_with(module: nn.Module) -> Any:  # noqa: ANN401
    """Logits of a trained module."""

    @torch.inference_mode()
    def predict(table: Any) -> Any:  # noqa: ANN401
        return module.eval()(numbers(table)).numpy()

    return predict


def train(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
    """Fit without restraint."""
    lightning.seed_everything(seed, verbose=False)
    module = Visits(numbers(inputs).shape[1], 0.03, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one process that loads data
        trainer = lightning.Trainer(max_epochs=50, enable_checkpointing=False, **QUIET)
        trainer.fit(module, rows(inputs, labels, shuffle=True))
    return predict_with(module)


def train_stopped(
    inputs: Any,  # noqa: ANN401
    labels: Any,  # noqa: ANN401
    seed: int,
    validation: Any,  # noqa: ANN401
    scratch: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Held back by weight decay, stopped on other patients, the best state read from a file."""
    lightning.seed_everything(seed, verbose=False)
    module = Visits(numbers(inputs).shape[1], 3e-3, 1.0)
    best = lightning.pytorch.callbacks.ModelCheckpoint(scratch, monitor="held")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=5,
            callbacks=[EarlyStopping("held", patience=2), best],
            default_root_dir=scratch,
            **QUIET,
        )
        trainer.fit(module, rows(inputs, labels, shuffle=True), rows(*validation, shuffle=False))
    state = torch.load(best.best_model_path, weights_only=True)
    module.load_state_dict(state["state_dict"])
    return predict_with(module)
