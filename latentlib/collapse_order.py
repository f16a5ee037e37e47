"""Jump or kink: which order the collapse of a mode will have, read from third and fourth moments of the data.

For one latent with a flexible encoder and decoder, near threshold (`landau`): the order is decided by the skewness S
and kurtosis K of the soft mode and by the curvature of the other modes over it, G and Γ (`soft_modes`).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib.landau import landau_coefficients, landau_maxwell
from latentlib.soft_modes import MOMENTS, ModeMoments, mode_moments

MOMENT_ROUNDING = 1e-9  # of the moments of an exact law, in units of 1


@dataclass(frozen=True)
class OrderPrediction:
    """Predicted order of one mode's collapse: "continuous", "first order", "variance-coded" or "undecided".

    mode, from 1; threshold λ_k, where the collapsed state goes soft, in the units of x², and its pca_share λ_k/σ_tot²;
    inequality, what decided, in words and numbers; margin ± margin_se, the deciding quantity, whose sign decides;
    maxwell_shift, ε_M = 1 − λ_k/T at the jump that the measured S makes, 0 without one, NaN where none is within the
    expansion; conditional, whether modes above were taken as active (mode > 1).
    """

    mode: int
    order: str
    inequality: str
    margin: float
    margin_se: float
    threshold: float
    pca_share: float
    maxwell_shift: float
    conditional: bool


def predict_order(
    x: Tensor,
    n_modes: int = 1,
    *,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    n_groups: int = 32,
    homoscedastic: bool = False,
    decoder: str = "nonlinear",
    n_se: float = 3.0,
) -> list[OrderPrediction]:
    """Order of collapse of each mode: first order iff S ≠ 0, G > 1 or 2(5 − K) − 4G − 3Γ < 0, else continuous.

    A continuous onset is variance-coded, KL > 0 at m = 0, iff 2(5 − K) − 4G − 3Γ < 1 − G. With one σ for every x
    (homoscedastic) continuous iff S² + Γ < 1. A linear decoder without weight decay is continuous on any data.
    "Undecided" where the deciding quantity is within n_se standard errors of zero, or the mode of another one. S = 0 is
    never proven: |S| ≤ n_se·max(se, √(6/n)) counts as no cubic term, a weaker jump is not excluded, and a significant
    S may make an invisible one: see maxwell_shift.
    Mode k ≥ 2 is conditional: the modes above are dropped, as if their latents were active and told nothing of it.
    Where they do (a curve in the data), `collapse_stability.residual_operator` has the threshold.
    The theory is local, of one latent and fully flexible networks: a jump to a distant state is outside.
    Args as `mode_moments`. Raises: ValueError as there, for another decoder, n_se not above 0.
    """
    if decoder not in ("linear", "nonlinear"):
        raise ValueError(f"decoder: want 'linear' or 'nonlinear', got {decoder!r}")
    if not 0 < n_se < math.inf:
        raise ValueError(f"n_se: want a finite number > 0, got {n_se}")
    moments = mode_moments(x, n_modes, weights=weights, groups=groups, n_groups=n_groups)
    found = []
    for k in range(n_modes):
        mode = _Mode(moments, k, n_se)
        threshold, share = moments.eigenvalue[k].item(), (moments.eigenvalue[k] / moments.total_var).item()
        if decoder == "linear":
            decision, shift = ("continuous", "linear decoder: m = (1 − T/λ)₊ on any data", math.inf, 0.0), 0.0
        else:
            decision = mode.degenerate() or (mode.homoscedastic() if homoscedastic else mode.heteroscedastic())
            shift = mode.maxwell_shift(homoscedastic)
        found.append(OrderPrediction(k + 1, *decision, threshold, share, shift, conditional=k > 0))
    return found


Decision = tuple[str, str, float, float]  # order, inequality, margin, margin_se


class _Mode:
    """The moments of one mode, as quantities with errors, and what they decide."""

    def __init__(self, moments: ModeMoments, k: int, n_se: float):
        self.values = torch.stack([getattr(moments, name)[k] for name in MOMENTS])
        self.covariance, self.floor, self.n_se = moments.covariance[k], moments.skewness_floor, n_se
        self.gap = moments.gap[k].item(), moments.gap_se[k].item()

    def quantity(self, constant: float, *slopes: float) -> tuple[float, float]:
        """constant + Σ slope·moment over S, K, G, Γ, and its standard error; an unused moment may be NaN."""
        gradient = self.values.new_tensor([0.0, *slopes])
        value = constant + (gradient * self.values)[gradient != 0].sum()
        return value.item(), (gradient @ self.covariance @ gradient).clamp_min(0).sqrt().item()

    def sign(self, value: float, se: float, unit: float = 1.0) -> int:
        """+1 or −1, or 0 where the interval straddles zero or there is none: an error that is NaN."""
        clear = abs(value) > MOMENT_ROUNDING * unit and abs(value) > self.n_se * se
        return int(math.copysign(1, value)) if clear else 0

    def degenerate(self) -> Decision | None:
        if self.sign(*self.gap, unit=self.values[0].item()):
            return None
        words = f"gap to the nearest eigenvalue {_number(*self.gap)} straddles 0: degenerate, no single soft mode"
        return "undecided", words, *self.gap

    def homoscedastic(self) -> Decision:
        skewness, skewness_se = self.quantity(0, 1, 0, 0, 0)
        value, _ = self.quantity(1 + skewness_se**2, -skewness, 0, 0, -1)  # a plug-in S² has expectation S² + Var S
        _, se = self.quantity(0, -2 * skewness, 0, 0, -1)
        return self.by_sign("1 − S² − Γ", "", (value, se), "continuous", "first order")

    def heteroscedastic(self) -> Decision:
        skewness, se = self.quantity(0, 1, 0, 0, 0)
        cubic = skewness, max(se, self.floor)
        if self.sign(*cubic):
            return "first order", f"S = {_number(*cubic)} ≠ 0: the width channel has a cubic term", *cubic
        flat = f"|S| = {_number(abs(skewness), cubic[1])}: no cubic term seen; "
        channels = {"1 − G": self.quantity(1, 0, 0, -1, 0), "2(5 − K) − 4G − 3Γ": self.quantity(10, 0, -2, -4, -3)}
        signs = {name: self.sign(*channel) for name, channel in channels.items()}
        for name, sign in signs.items():
            if sign <= min(0, *signs.values()):  # a negative one decides before one that straddles
                return self.by_sign(name, flat, channels[name], "continuous", "first order")
        flat += "".join(f"{name} = {_number(*channel)} > 0, " for name, channel in channels.items())
        return self.by_sign("their difference", flat, self.quantity(9, 0, -2, -3, -3), "continuous", "variance-coded")

    def by_sign(self, name: str, before: str, channel: tuple[float, float], above: str, below: str) -> Decision:
        order, relation = {1: (above, "> 0"), -1: (below, "< 0"), 0: ("undecided", "straddles 0")}[self.sign(*channel)]
        return order, f"{before}{name} = {_number(*channel)} {relation}", *channel

    def maxwell_shift(self, homoscedastic: bool) -> float:
        moments = self.values[1:].tolist()
        if not all(map(math.isfinite, moments)):
            return math.nan
        coefficients = landau_coefficients(*moments, homoscedastic=homoscedastic)
        return landau_maxwell(coefficients)[0] if coefficients.bounded else math.nan


def _number(value: float, se: float) -> str:
    return f"{value:.3g} ± {se:.2g}" if se else f"{value:.4g}"
