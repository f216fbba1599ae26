"""Flax and Optax: everything random follows from one key."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen


class Net(linen.Module):  # type: ignore[misc]
    """Two layers with dropout; logits."""

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Any, *, train: bool) -> Any:  # noqa: ANN401
        """Logits."""
        x = linen.relu(linen.Dense(256)(x))
        x = linen.Dropout(0.02, deterministic=not train)(x)
        return linen.Dense(1)(x)[:, 0]


NET = Net()


def numbers(table: Any) -> Any:  # noqa: ANN401
    """What the layers take."""
    return table.select_dtypes("number").to_numpy(dtype=np.float32)


@functools.partial(jax.jit, static_argnames=("rate", "decay"))
def step(state: Any, x: Any, y: Any, key: Any, rate: float, decay: float) -> Any:  # noqa: ANN401
    """One step on all members; those beyond the last count nothing."""
    weights, moments = state

    def lost(weights: Any) -> Any:  # noqa: ANN401
        z = NET.apply(weights, x, train=True, rngs={"dropout": key})
        return optax.sigmoid_binary_cross_entropy(z, y).mean()

    found, moments = optax.adamw(rate, weight_decay=decay).update(
        jax.grad(lost)(weights), moments, weights
    )
    return optax.apply_updates(weights, found), moments


answer = jax.jit(functools.partial(NET.apply, train=False))


def train(
    inputs: Any,  # noqa: ANN401
    labels: Any,  # noqa: ANN401
    seed: int,
    steps: int,
    rate: float,
    decay: float,
) -> Any:  # noqa: ANN401
    """Fit a number of steps."""
    x, y = jnp.asarray(numbers(inputs)), jnp.asarray(labels, dtype=jnp.float32)
    key, first = jax.random.split(jax.random.key(seed))
    weights = NET.init(first, x[:2], train=False)
    state = weights, optax.adamw(rate, weight_decay=decay).init(weights)
    for number in range(steps):
        state = step(state, x, y, jax.random.fold_in(key, number), rate, decay)
    return lambda asked: np.asarray(answer(state[0], numbers(asked)))


overfitted = functools.partial(train, steps=300, rate=0.02, decay=0.0)
regularised = functools.partial(train, steps=20, rate=3e-3, decay=1.0)
