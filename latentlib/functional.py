"""Collapse with nothing but the data law in the way: a free posterior for every point, the best decoder in closed form.

Data are a finite law: points x_i with weights p_i. One latent; q_i(z) = N(μ_i, σ_i²) is free for every point, and the
decoder is the posterior-weighted mean f(z) = Σ p_i q_i(z) x_i/q(z), q = Σ p_i q_i. The loss D̂ + 2T̂R of `equilibrium`
is then a function of (μ, ln σ²) alone, and its minima are the oracle for the order of a nonlinear collapse. Prices are
T̂ = T/σ_tot². Nothing here can memorize a node of the z grid: the decoder is no table but its formula, on a grid that
follows the posteriors, and `FunctionalBranch.grid_error` says what a grid twice as dense would change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from latentlib._free_posterior import (
    ALIVE,
    MAX_NODES,
    NODES_PER_STD,
    FreePosterior,
    checked_law,
    decode,
    first_state,
    n_nodes,
    rate,
)

_STEP = 0.01  # first relative step of a price on the way to the end of a branch


@dataclass(frozen=True)
class FunctionalBranch:
    """A branch of nonlinear one-latent optima followed through prices, in the order in which they were visited.

    prices; rate R (KL, nats); signal_fraction m; loss_gap, the loss D̂ + 2T̂R less its collapsed value 1; converged
    (bool); grid_error, change of the loss on a grid twice as dense: all (n_prices,). mu and log_var of every point:
    (n_prices, n_points). A width-coded state has R > 0 at m = 0: look at R, and compare branches by loss_gap.
    """

    prices: Tensor
    rate: Tensor
    signal_fraction: Tensor
    loss_gap: Tensor
    mu: Tensor
    log_var: Tensor
    converged: Tensor
    grid_error: Tensor


class Transition(NamedTuple):
    """Where collapse happens, as prices T̂: end of the branch upward, crossing of the losses, loss of local stability.

    price_up, the last price with a local minimum that is not collapsed; price_maxwell, the last where one lies below
    the collapsed loss: both approached from below, to the resolution asked for. price_down = λ_max/σ_tot², exact: below
    it the collapsed state is unstable. rate_up, R in nats at price_up: the jump, near 0 if there is none.
    """

    price_up: float
    price_maxwell: float
    price_down: float
    rate_up: float


class CollapsedHessian(NamedTuple):
    """Second derivatives of R + D̂/2T̂ at the collapsed state, in √p_i·μ_i (`mean`) and in √p_i·ln σ_i (`log_std`).

    Each (n_points, n_points) and symmetric; the mixed block is zero.
    """

    mean: Tensor
    log_std: Tensor


def functional_loss(points: Tensor, weights: Tensor, mu: Tensor, log_var: Tensor, price: float | Tensor) -> Tensor:
    """Loss D̂ + 2T̂R of free one-latent posteriors under their optimal decoder; it is 1 when collapsed (μ = 0, σ = 1).

    D̂ = 1 − ∫ q(z)|f(z)|² dz/σ_tot² for centred data, by the trapezoid rule on a grid over all posteriors.
    Differentiable in mu and log_var; unchanged when the data are shifted or rescaled.
    Args: points (n_points, n_features), weights (n_points,); mu, log_var (…, n_points); price T̂, a number or (…).
    Returns: (…), float64. Raises: ValueError for a bad law, price ≤ 0, shapes that do not fit, values that are not
    finite, or posteriors whose widths are too different for one grid.
    """
    points, weights, _ = checked_law(points, weights)
    mu, log_var, price = (torch.as_tensor(value, dtype=torch.float64) for value in (mu, log_var, price))
    if mu.shape != log_var.shape or mu.shape[-1:] != weights.shape or price.shape not in ((), mu.shape[:-1]):
        shapes = [tuple(value.shape) for value in (mu, log_var, price)]
        raise ValueError(f"want mu, log_var (…, {len(weights)}) and price () or (…), got {shapes}")
    if not (mu.isfinite().all() and log_var.isfinite().all() and price.isfinite().all() and (price > 0).all()):
        raise ValueError("want finite mu and log_var and a finite price > 0, got another value")
    rows = mu.reshape(-1, len(weights)), log_var.reshape(-1, len(weights))
    if not n_nodes(*rows) <= MAX_NODES:
        needed = n_nodes(*rows)
        raise ValueError(f"want posteriors that one grid of {MAX_NODES} nodes resolves, got a need of {needed:.3g}")
    explained = decode(points, weights, *rows).explained.reshape(mu.shape[:-1])
    return 1 - explained + 2 * price * rate(weights, mu, log_var)


def collapsed_hessian(points: Tensor, weights: Tensor, price: float) -> CollapsedHessian:
    """Hessian of R + D̂/2T̂ at the collapsed state: eigenvalues 1 − λ_k/T for the means and 2(1 − λ_k/T) for ln σ.

    λ_k are the variances of the data, T = T̂σ_tot²; in all other directions λ = 0. Exact for every law: both channels
    go soft at T = λ_max. Raises: ValueError for a bad law or price ≤ 0.
    """
    points, weights, _ = checked_law(points, weights)
    scaled = weights.sqrt()[:, None] * points
    mean = torch.eye(len(weights), dtype=torch.float64) - scaled @ scaled.mT / _checked_prices([price])
    return CollapsedHessian(mean, 2 * mean)


def functional_branch(
    points: Tensor,
    weights: Tensor,
    prices: Tensor | Sequence[float],
    *,
    start: str | tuple[Tensor, Tensor] = "mean",
    homoscedastic: bool = False,
    seed: int = 0,
) -> FunctionalBranch:
    """Branch of optima min over μ_i, σ_i² of D̂ + 2T̂R, each continued from the one before, prices in their order.

    start: "mean" (μ = ψ/2, ψ the standardized first principal component, skewness ≥ 0), "width" (ln σ² = ψ/2|ψ|_max),
    "random" (Gaussian, ½ each), "collapsed", or (mu, log_var), (n_points,) each. Every start, warm ones too, is kicked:
    noise of 1e-3 breaks symmetries, and a shift along σ_i² − 1 leaves states of width alone where they are saddles.
    A jump is believed only if the last 1e-4 of the way in price makes it. homoscedastic: one variance for all points.
    Args: points (n_points, n_features), weights (n_points,); prices T̂ > 0, (n_prices,); seed of the noise.
    Raises: ValueError for a bad law, price or start; TypeError for a start that is neither a name nor a pair.
    """
    points, weights, _ = checked_law(points, weights)
    prices = _checked_prices(prices)
    generator = torch.Generator().manual_seed(seed)
    state = first_state(points, weights, start, homoscedastic, generator)
    found, dense = [], []
    for last, price in zip([prices[0].item(), *prices.tolist()], prices.tolist()):
        problem = FreePosterior(points, weights, price, homoscedastic)
        found.append(problem.follow(last, state, generator))
        state = found[-1].x
        dense.append(problem.value(state, 2 * NODES_PER_STD))
    mu, log_var = problem.unpack(torch.cat([one.x for one in found]))
    second_moment, gap = mu.square() @ weights, torch.cat([one.value for one in found])
    return FunctionalBranch(
        prices=prices,
        rate=rate(weights, mu, log_var),
        signal_fraction=second_moment / (second_moment + log_var.exp() @ weights),
        loss_gap=2 * prices * gap,
        mu=mu,
        log_var=log_var,
        converged=torch.cat([one.converged for one in found]),
        grid_error=2 * prices * (torch.cat(dense) - gap).abs(),
    )


def transition(
    points: Tensor,
    weights: Tensor,
    *,
    homoscedastic: bool = False,
    first: float = 0.9,
    resolution: float = 1e-3,
    seed: int = 0,
) -> Transition:
    """Transition of a law: price_up, price_maxwell and price_down of the collapse of its first mode.

    Optima at first·price_down, from the starts mean, width and random, are followed upward in steps of 1 %, halved
    where the state is lost down to the relative `resolution`. Of several branches the highest price counts.
    Raises: ValueError for a bad law, or unless 0 < first ≤ 0.99 and 0 < resolution ≤ 0.01; RuntimeError if a descent
    does not converge.
    """
    points, weights, top_share = checked_law(points, weights)
    if not (0 < first <= 0.99 and 0 < resolution <= _STEP):
        raise ValueError(f"want 0 < first <= 0.99 and 0 < resolution <= {_STEP}, got {first} and {resolution}")
    generator = torch.Generator().manual_seed(seed)
    problem = FreePosterior(points, weights, first * top_share, homoscedastic)
    starts = [first_state(points, weights, name, homoscedastic, generator) for name in ("mean", "width", "random")]
    optima = [problem.descend(start, generator) for start in starts]
    # Starts that fell into one optimum, or into its mirror image, have one loss to rounding.
    optima = {round(one.value.item(), 12): one.x for one in optima}.values()
    ends = []
    for x in optima:
        up = _last(problem, x, resolution, generator, lambda end: end.rate > ALIVE)
        below = up  # a branch that never rises above the collapsed loss merges with it
        if up.value >= 0:
            below = _last(problem, x, resolution, generator, lambda end: end.rate > ALIVE and end.value < 0)
        ends.append((up, below.price))
    last = max((up for up, _ in ends), key=lambda up: up.price)
    return Transition(last.price, max(price for _, price in ends), top_share, last.rate)


class _End(NamedTuple):
    price: float
    rate: float
    value: float  # (loss − collapsed loss)/2T̂


def _last(
    problem: FreePosterior, state: Tensor, resolution: float, generator: torch.Generator, holds: Callable[[_End], bool]
) -> _End:
    """The last optimum on the way up from `problem` for which something holds; price 0 if it holds for none."""
    last, step, price = _End(0.0, 0.0, 0.0), _STEP, problem.price
    while True:
        trial = replace(problem, price=price)
        found = trial.descend(state, generator)
        if not found.converged.all():
            raise RuntimeError(f"want an optimum at price {price:.6g}, got a descent that did not converge")
        end = _End(price, rate(trial.weights, *trial.unpack(found.x)).item(), found.value.item())
        if holds(end):
            last, state = end, found.x
        elif step <= resolution or last.price == 0:
            return last
        else:
            step /= 2
        price = last.price * (1 + step)


def loop_area(prices: Tensor, rate_up: Tensor, rate_down: Tensor) -> Tensor:
    """Area of the hysteresis loop A = ∫ (R_up − R_down) dT̂ by the trapezoid rule: 0 if collapse is continuous.

    Args: prices rising, (n_prices,); rate_up, rate_down of the scans up and down *at these prices*, (…, n_prices) each.
    Returns: (…). Raises: ValueError if the prices do not rise or the shapes do not fit.
    """
    prices, rate_up, rate_down = (torch.as_tensor(part, dtype=torch.float64) for part in (prices, rate_up, rate_down))
    if prices.ndim != 1 or len(prices) < 2 or not (prices.diff() > 0).all():
        raise ValueError(f"prices: want (n_prices ≥ 2,), rising, got shape {tuple(prices.shape)}: {prices}")
    if rate_up.shape != rate_down.shape or rate_up.shape[-1:] != prices.shape:
        raise ValueError(f"want rates (…, {len(prices)}), got {tuple(rate_up.shape)} and {tuple(rate_down.shape)}")
    return torch.trapezoid(rate_up - rate_down, prices)


def _checked_prices(prices: Tensor | Sequence[float]) -> Tensor:
    prices = torch.as_tensor(prices, dtype=torch.float64)
    if prices.ndim != 1 or len(prices) == 0 or not ((prices > 0) & prices.isfinite()).all():
        raise ValueError(f"prices: want (n_prices > 0,), all finite and > 0, got shape {tuple(prices.shape)}: {prices}")
    return prices
