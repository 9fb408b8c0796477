"""AdamW's step of one tensor, made outside of the optimizer whose settings and state it is of."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.adamw import adamw


def can_step_apart(optimizer: Optimizer) -> TypeGuard[AdamW]:
    """Return whether it is torch's fused AdamW without variants: the only one that is known here."""
    return type(optimizer) is AdamW and all(
        group["fused"] and not group["amsgrad"] and not group["maximize"] for group in optimizer.param_groups
    )


def state_of(optimizer: Optimizer, weight: Tensor) -> dict[str, Tensor]:
    """Return the optimizer's state of a weight, as it would begin it itself."""
    state: dict[str, Tensor] = optimizer.state[weight]
    if not state:
        state["step"] = torch.zeros(())
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
    return state


def step_apart(
    optimizer: Optimizer, group: dict[str, Any], state: dict[str, Tensor], weight: Tensor, gradient: Tensor
) -> None:
    """Step a weight, or rows of one with the rows of its moments, in place; the gradient does not stay what it was."""
    adamw(
        [weight],
        [gradient],
        [state["exp_avg"]],
        [state["exp_avg_sq"]],
        [],
        [state["step"]],
        fused=True,
        grad_scale=getattr(optimizer, "grad_scale", None),
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
