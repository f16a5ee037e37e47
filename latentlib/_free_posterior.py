"""One latent with a free Gaussian posterior for every point of a finite law: loss, gradient, starts, descent.

Data here are centred and scaled to Σ p_i |x_i|² = 1, so T = T̂. A state is one row: μ_1 … μ_n, then n log-variances or
the one that all points share. Values are the loss above the collapsed state over 2T̂: R − explained share/2T̂, in nats.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentlib import lbfgs

NODES_PER_STD = 8  # nodes of the trapezoid rule within the standard deviation of the narrowest posterior
REACH = 9.0  # the grid ends this many standard deviations beyond the outermost posterior: e^(−81/2) = 3e-18
MAX_NODES = 20_000  # no grid is longer
KICK = 1e-3  # noise on every start, in prior standard deviations: breaks symmetries, leaves saddles
TILT = 0.1  # kick of every start along μ_i ∝ σ_i² − 1: leaves saddles of fourth order
START = 0.5  # size of the named starts
TOLERANCE = 1e-10  # of the gradient, in the metric of the prior
ALIVE = 1e-6  # nats: a state of lower rate is collapsed. At T = λ_1 itself TOLERANCE leaves about 1e-7
FINEST = 1e-4  # shortest relative step in price
MAX_STEP = 0.3  # longest step of a descent: it shall follow its own valley


def rate(weights: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(q_i ‖ N(0, 1)) averaged over the law, nats."""
    return ((mu.square() + log_var.expm1() - log_var) / 2) @ weights


@dataclass(frozen=True)
class Decoded:
    """The optimal decoder on a grid over all posteriors of a row, whose cells carry the mass p_i q_i(z) dz.

    z (batch, n_nodes); mass (batch, n_nodes, n_points); decoder (batch, n_nodes, n_features); explained (batch,), the
    variance Σ mass |f|² of the decoder's output.
    """

    z: Tensor
    mass: Tensor
    decoder: Tensor
    explained: Tensor


def decode(points: Tensor, weights: Tensor, mu: Tensor, log_var: Tensor, nodes_per_std: int = NODES_PER_STD) -> Decoded:
    """Optimal decoder f(z) = Σ_i P(i|z) x_i of posteriors mu, log_var (batch, n_points), by the trapezoid rule."""
    low, high, _ = _range(mu.detach(), log_var.detach())
    fraction = torch.linspace(0, 1, math.ceil(n_nodes(mu.detach(), log_var.detach(), nodes_per_std)), dtype=mu.dtype)
    z, step = low[:, None] + (high - low)[:, None] * fraction, (high - low) * fraction[1]
    distance = (z[..., None] - mu[:, None]).square() / log_var.exp()[:, None]
    log_mass = (weights * step[:, None]).log()[:, None] - (distance + log_var[:, None] + math.log(2 * math.pi)) / 2
    mass, decoder = log_mass.exp(), log_mass.softmax(-1) @ points
    return Decoded(z, mass, decoder, (mass.sum(-1) * decoder.square().sum(-1)).sum(-1))


def n_nodes(mu: Tensor, log_var: Tensor, nodes_per_std: int = NODES_PER_STD) -> float:
    """Nodes that a grid over all posteriors of a row needs, the largest of the batch."""
    low, high, std = _range(mu, log_var)
    return 1 + ((high - low) / std.amin(-1)).amax().item() * nodes_per_std


def _range(mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    std = (log_var / 2).exp()
    return (mu - REACH * std).amin(-1), (mu + REACH * std).amax(-1), std


@dataclass(frozen=True)
class FreePosterior:
    """R − explained share/2T̂ of a batch of states at one price, with its gradient and metric for `lbfgs.minimize`."""

    points: Tensor
    weights: Tensor
    price: float
    homoscedastic: bool

    def unpack(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log_var, (batch, n_points) each."""
        n_points = len(self.weights)
        return state[:, :n_points], state[:, n_points:].expand(-1, n_points)

    def value(self, state: Tensor, nodes_per_std: int = NODES_PER_STD) -> Tensor:
        """The value alone, on a grid of any density."""
        posterior = self.unpack(state)
        explained = decode(self.points, self.weights, *posterior, nodes_per_std).explained
        return rate(self.weights, *posterior) - explained / (2 * self.price)

    def value_and_gradient(self, state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Envelope theorem: only q_i moves, so ∂explained/∂θ_i = ∫ p_i ∂q_i/∂θ_i (2x_i·f − |f|²) dz."""
        mu, log_var = self.unpack(state)
        if not n_nodes(mu, log_var) <= MAX_NODES:  # a trial step too far: the line search turns back from infinity
            return torch.full_like(state[:, 0], math.inf), torch.zeros_like(state)
        on = decode(self.points, self.weights, mu, log_var)
        output = 2 * on.decoder @ self.points.mT - on.decoder.square().sum(-1, keepdim=True)
        gain = on.mass * output / (2 * self.price)
        centred = on.z[..., None] - mu[:, None]
        offset = centred / log_var.exp()[:, None]  # ∂ln q_i/∂μ_i
        by_mean = self.weights * mu - (gain * offset).sum(1)
        by_width = self.weights * log_var.expm1() / 2 - (gain * (offset * centred - 1) / 2).sum(1)
        if self.homoscedastic:
            by_width = by_width.sum(1, keepdim=True)
        value = rate(self.weights, mu, log_var) - on.explained / (2 * self.price)
        return value, torch.cat([by_mean, by_width], 1)

    def precondition(self, state: Tensor, gradient: Tensor, rows: Tensor) -> Tensor:
        """Inverse Hessian of the rate at the prior: 1/p_i for a mean, 2/p_i for a log-variance."""
        widths = torch.ones(1, dtype=gradient.dtype) if self.homoscedastic else self.weights
        return gradient * torch.cat([1 / self.weights, 2 / widths])

    def descend(self, state: Tensor, generator: torch.Generator) -> lbfgs.Minimum:
        """The local minimum below a state (1, n), which is kicked first.

        A stationary state of width alone (μ = 0) is flat to second order along μ_i ∝ σ_i² − 1, whatever the law: a
        shift of all μ leaves f in place, and so does the tilt μ_i → μ_i + εσ_i², which multiplies every q_i by 1 + εz.
        Where the fourth order is negative it is a saddle whose slope is the cube of the noise: it takes its own kick.
        """
        mu, log_var = self.unpack(state)
        tilt = torch.cat([log_var.expm1(), torch.zeros_like(state[:, mu.shape[1] :])], 1)
        state = state + TILT * tilt + KICK * torch.randn(state.shape, generator=generator, dtype=state.dtype)
        tolerance = torch.full((len(state),), TOLERANCE, dtype=state.dtype)
        found = lbfgs.minimize(self.value_and_gradient, self.precondition, state, tolerance, max_step=MAX_STEP)
        return replace(found, converged=found.converged & found.value.isfinite())

    def follow(self, price: float, state: Tensor, generator: torch.Generator) -> lbfgs.Minimum:
        """The optimum at this price that continues the optimum `state` at another price.

        A descent that starts too high above its valley may leap out of it. So when a live state changes its rate by
        more than half, that is believed only if the last FINEST of the way does it; else the way is halved.
        """
        found = self.descend(state, generator)
        old, new = rate(self.weights, *self.unpack(state)).item(), rate(self.weights, *self.unpack(found.x)).item()
        leapt = old > ALIVE and abs(new - old) > max(old, new) / 2
        if not leapt or abs(self.price - price) <= FINEST * price:
            return found
        halfway = replace(self, price=(price + self.price) / 2)
        return self.follow(halfway.price, halfway.follow(price, state, generator).x, generator)


def first_state(points: Tensor, weights: Tensor, start, homoscedastic: bool, generator: torch.Generator) -> Tensor:
    """The start as one row of the solver."""
    if isinstance(start, str):
        start = _named_start(points, weights, start, generator)
    if not isinstance(start, tuple | list) or len(start) != 2:
        raise TypeError(f"start: want a name or a pair (mu, log_var), got {type(start).__name__}")
    mu, log_var = (torch.as_tensor(value, dtype=torch.float64) for value in start)
    if mu.shape != weights.shape or log_var.shape != weights.shape or not torch.cat([mu, log_var]).isfinite().all():
        shapes = f"{tuple(mu.shape)}, {tuple(log_var.shape)}"
        raise ValueError(f"start: want finite mu, log_var ({len(weights)},), got {shapes}")
    return torch.cat([mu, (weights @ log_var)[None] if homoscedastic else log_var])[None]


def _named_start(points: Tensor, weights: Tensor, name: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """mu and log_var, (n_points,), of the starts mean, width, random and collapsed."""
    zero = torch.zeros_like(weights)
    psi = points @ torch.linalg.eigh(points.mT @ (weights[:, None] * points))[1][:, -1]
    psi = psi / (psi.square() @ weights).sqrt() * (1 if psi**3 @ weights >= 0 else -1)
    if name == "mean":
        return START * psi, zero
    if name == "width":
        return zero, START * psi / psi.abs().max()
    if name == "random":
        return tuple(START * torch.randn((2, len(weights)), generator=generator, dtype=weights.dtype))
    if name == "collapsed":
        return zero, zero
    raise ValueError(f"start: want 'mean', 'width', 'random', 'collapsed' or (mu, log_var), got {name!r}")


def checked_law(points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, float]:
    """Points centred and scaled to total variance 1, weights, and the share of the first principal component."""
    points, weights = (torch.as_tensor(value, dtype=torch.float64) for value in (points, weights))
    if points.ndim != 2 or weights.ndim != 1 or len(points) != len(weights) or len(weights) < 2:
        shapes = f"{tuple(points.shape)}, {tuple(weights.shape)}"
        raise ValueError(f"want points (n_points ≥ 2, n_features), weights (n_points,), got {shapes}")
    if not (points.isfinite().all() and (weights > 0).all() and abs(weights.sum() - 1) <= 1e-6):
        found = f"weights of sum {weights.sum()}, min {weights.min()}"
        raise ValueError(f"want finite points and weights > 0 of sum 1, got {found}")
    weights = weights / weights.sum()
    points = points - weights @ points
    total_var = weights @ points.square().sum(1)
    if not total_var > 0:
        raise ValueError("points: want a law of positive variance, got equal points")
    points = points / total_var.sqrt()
    return points, weights, torch.linalg.eigvalsh(points.mT @ (weights[:, None] * points))[-1].item()
