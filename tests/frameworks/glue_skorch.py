"""skorch: a module, a split by patient for early stopping, and numbers in 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit


class Net(torch.nn.Module):
    """Two layers; logits of two classes."""

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.LazyLinear(hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 2)
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits."""
        out: torch.Tensor = self.layers(inputs)
        return out


def narrow(inputs: Any) -> Any:  # noqa: ANN401
    """What PyTorch's layers take."""
    return np.asarray(inputs, dtype=np.float32)


def make(epochs: int, decay: float, *, stop: bool) -> Any:  # noqa: ANN401
    """A network behind the encoder; with `stop` it looks at patients that it does not fit."""
    net = NeuralNetClassifier(
        Net,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=decay,
        lr=0.01,
        max_epochs=epochs,
        batch_size=32,
        train_split=ValidSplit(cv=GroupKFold(5)) if stop else None,
        callbacks=[EarlyStopping(patience=3)] if stop else None,
        verbose=0,
    )
    return make_pipeline(FunctionTransformer(narrow), net)
