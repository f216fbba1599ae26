"""The network of the speed comparison and its training, as SACRO-ML wants them: by file name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """Two hidden layers and two logits."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.output = nn.Linear(hidden, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (records, 2)."""
        logits: Tensor = self.output(self.layers(x))
        return logits


def train(model: nn.Module, dataloader: Any, epochs: int) -> None:  # noqa: ANN401
    """Epochs of AdamW, as the audit has them."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(epochs):
        for x, y in dataloader:
            optimizer.zero_grad()
            loss_of(model(x), y.long()).backward()
            optimizer.step()
