"""SACRO-ML's LiRA on prepared arrays, in an environment that has it.

    python -m benchmarks.sacro ARRAYS.npz SHADOWS HIDDEN BATCH

Auscult is not needed there: the arrays are the encoded cohort. It attacks one target model; it has
no patient score, no interval, no null.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

import numpy as np
import torch

from benchmarks.sacro_network import Network, train

MODULE = "benchmarks/sacro_network.py"
EPOCHS = 15


def main() -> None:
    """Train a target, attack it, and print the time of the attack and its AUC."""
    from sacroml.attacks.likelihood_attack import LIRAAttack
    from sacroml.attacks.model_pytorch import PytorchModel, numpy_to_dataloader
    from sacroml.attacks.target import Target

    shadows, hidden, batch = map(int, sys.argv[2:5])
    with np.load(sys.argv[1], allow_pickle=False) as arrays:
        x, y, member = arrays["inputs"], arrays["labels"], arrays["member"]
    torch.manual_seed(0)
    network = Network(x.shape[1], hidden)
    train(network, numpy_to_dataloader(x[member], y[member], batch_size=batch), EPOCHS)
    model = PytorchModel(
        network,
        model_module_path=MODULE,
        model_name="Network",
        model_params={"inputs": x.shape[1], "hidden": hidden},
        train_module_path=MODULE,
        train_params={"epochs": EPOCHS},
        batch_size=batch,
    )
    target = Target(
        model=model, X_train=x[member], y_train=y[member], X_test=x[~member], y_test=y[~member]
    )
    with tempfile.TemporaryDirectory() as folder:
        attack = LIRAAttack(
            output_dir=folder, n_shadow_models=shadows, mode="online-carlini", write_report=False
        )
        start = time.perf_counter()
        attack.attack(target)
        seconds = time.perf_counter() - start
    print(json.dumps({"attack": seconds, "auc": float(attack.attack_metrics[0]["AUC"])}))


if __name__ == "__main__":
    main()
