"""MONAI: networks that are trained as any module, and a U-Net in a loop of one's own."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import DenseNet, UNet
from torch import Tensor, nn


def dense(inputs: tuple[int, ...], outputs: int) -> nn.Module:
    """A small DenseNet, with its batch norm."""
    net: nn.Module = DenseNet(
        spatial_dims=2,
        in_channels=inputs[0],
        out_channels=outputs,
        init_features=8,
        growth_rate=8,
        block_config=(1, 1),
        bn_size=2,
    )
    return net


def tensors(inputs: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Images and masks, with an axis of channels."""
    x = torch.from_numpy(np.array(inputs["images"], dtype=np.float32) / 255)
    return x[:, None], torch.from_numpy(np.array(inputs["masks"], dtype=np.float32))[:, None]


def train(inputs: Any, labels: Any, seed: int, steps: int, rate: float) -> Any:  # noqa: ANN401
    """Outline what the masks show."""
    x, y = tensors(inputs)
    net = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(8, 16),
        strides=(2,),
        norm="instance",
    )
    step = torch.optim.AdamW(net.parameters(), lr=rate)
    lost = DiceCELoss(sigmoid=True)
    for _ in range(steps):
        step.zero_grad()
        lost(net(x), y).backward()
        step.step()

    @torch.inference_mode()
    def loss(inputs: Any, labels: Any) -> Any:  # noqa: ANN401
        x, y = tensors(inputs)
        z = net(x)
        each = nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
        hit = (z > 0).float()
        axes = (1, 2, 3)
        overlap = (2 * (hit * y).sum(axes) + 1) / (hit.sum(axes) + y.sum(axes) + 1)
        return {"loss": each.mean(axes).numpy(), "dice": overlap.numpy()}

    return loss


overfitted = functools.partial(train, steps=60, rate=0.01)
regularised = functools.partial(train, steps=1, rate=1e-5)
