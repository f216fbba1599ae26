"""What a careful user writes without a tool: shadow models one after another, LiRA by scipy.

The cohort and the network are those of the audit it is compared with; training goes through a
DataLoader, model by model, and LiRA through scipy's normal densities, record by record. No patient
score, no interval, no null, no report.

    python -m benchmarks.sequential COHORT MODELS HIDDEN BATCH
    python -m benchmarks.sequential --images COHORT MODELS EPOCHS
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from scipy.stats import norm
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.real import audit_of


def main() -> None:
    """Train, attack, and print the time of each and the AUC."""
    name, models, hidden, batch = sys.argv[1], *map(int, sys.argv[2:5])
    start = time.perf_counter()
    audit = audit_of(name, models, hidden=[hidden, hidden], batch_size=batch)
    data = audit.cohort.training_data()
    member = audit._design().membership().reveal()[:, audit.cohort.patient_of_record]
    from auscult.recipes.torch.encoding import EncodedTable

    encoded = EncodedTable(data.inputs, torch.float32, torch.device("cpu"))  # type: ignore[arg-type]
    labels = torch.from_numpy(data.labels).float()
    everybody = torch.arange(len(labels))[None]
    read = time.perf_counter()
    signals = np.empty((models, len(labels)))
    for model in range(models):
        torch.manual_seed(model)
        inside = np.flatnonzero(member[model])
        encoded.fit([inside])
        inputs = encoded.batch([0], everybody)[0]
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )
        loader = DataLoader(
            TensorDataset(inputs[inside], labels[inside]), batch_size=batch, shuffle=True
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
        loss_of = nn.BCEWithLogitsLoss()
        for _ in range(15):
            for x, y in loader:
                optimizer.zero_grad()
                loss_of(network(x)[:, 0], y).backward()
                optimizer.step()
        with torch.no_grad():
            signals[model] = (network(inputs)[:, 0] * (2 * labels - 1)).numpy()
    trained = time.perf_counter()
    scores = np.empty_like(signals)
    for record in range(signals.shape[1]):
        x, held = signals[:, record], member[:, record]
        density = [norm.logpdf(x, x[side].mean(), x[side].std() + 1e-6) for side in (held, ~held)]
        scores[:, record] = density[0] - density[1]
    done = time.perf_counter()
    better = [
        float((scores[m][member[m]][:, None] > scores[m][~member[m]][None, ::50]).mean())
        for m in range(2)
    ]
    print(
        json.dumps(
            {
                "read": read - start,
                "training": trained - read,
                "attack": done - trained,
                "auc": float(np.mean(better)),
            }
        )
    )


def images() -> None:
    """Train networks on images one after another and print the time."""
    from auscult.cohort.inputs import NamedInputs
    from auscult.recipes.networks.small import cnn
    from auscult.recipes.torch.encoding import encode

    name, models, epochs = sys.argv[2], *map(int, sys.argv[3:5])
    audit = audit_of(name, models)
    data = audit.cohort.training_data()
    member = audit._design().membership().reveal()[:, audit.cohort.patient_of_record]
    if isinstance(data.inputs, NamedInputs):
        raise SystemExit("one input is measured")
    encoded = encode(data.inputs, torch.float32, torch.device("cpu"), None)
    labels = torch.from_numpy(data.labels).float()
    start = time.perf_counter()
    for model in range(models):
        torch.manual_seed(model)
        inside = np.flatnonzero(member[model])
        encoded.fit([inside])
        inputs = encoded.batch([0], torch.arange(len(labels))[None])[0]
        network = cnn(tuple(inputs.shape[1:]), 1, 16, 0.0)
        loader = DataLoader(
            TensorDataset(inputs[inside], labels[inside]), batch_size=64, shuffle=True
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
        loss_of = nn.BCEWithLogitsLoss()
        for _ in range(epochs):
            for x, y in loader:
                optimizer.zero_grad()
                loss_of(network(x)[:, 0], y).backward()
                optimizer.step()
        with torch.no_grad():
            for low in range(0, len(inputs), 512):
                network(inputs[low : low + 512])
    print(json.dumps({"training": time.perf_counter() - start}))


if __name__ == "__main__":
    images() if sys.argv[1] == "--images" else main()
