"""Keras 3, on whatever backend KERAS_BACKEND names."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def numbers(table: Any) -> Any:  # noqa: ANN401
    """What the layers take."""
    return table.select_dtypes("number").to_numpy(dtype=np.float32)


def network(columns: int, rate: float, decay: float) -> Any:  # noqa: ANN401
    """Two layers with dropout; probabilities, as most people write it."""
    layers = keras.layers
    tied = keras.regularizers.L2(decay)
    model = keras.Sequential(
        [
            layers.Input((columns,)),
            layers.Dense(256, "relu", kernel_regularizer=tied),
            layers.Dropout(0.02),
            layers.Dense(1, "sigmoid", kernel_regularizer=tied),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
    return model


def train(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
    """Fit without restraint."""
    model = network(numbers(inputs).shape[1], 0.02, 0.0)
    model.fit(numbers(inputs), labels.astype("float32"), epochs=80, batch_size=40, verbose=0)
    return lambda asked: model.predict(numbers(asked), batch_size=len(asked), verbose=0)[:, 0]


def train_stopped(inputs: Any, labels: Any, seed: int, validation: Any) -> Any:  # noqa: ANN401
    """Held back by a penalty, and stopped on other patients."""
    model = network(numbers(inputs).shape[1], 3e-3, 0.05)
    stop = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    held = numbers(validation[0]), validation[1].astype("float32")
    model.fit(
        numbers(inputs),
        labels.astype("float32"),
        epochs=6,
        batch_size=30,
        verbose=0,
        validation_data=held,
        callbacks=[stop],
    )
    return lambda asked: model.predict(numbers(asked), batch_size=len(asked), verbose=0)[:, 0]
