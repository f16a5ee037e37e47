"""The mixture of a spherical p-spin, checked in one place."""

import math
from collections.abc import Mapping
from numbers import Integral, Real


def check_mixture(mixture: Mapping[int, float]) -> dict[int, float]:
    """The mixture {p: c_p} of ξ(q) = Σ_p c_p q^p with plain numbers, if it is one: whole p ≥ 1, finite c_p ≥ 0.

    Raises: ValueError otherwise, TypeError for what is no mapping.
    """
    if not isinstance(mixture, Mapping):
        raise TypeError(f"mixture: want a mapping {{p: c_p}}, got {type(mixture).__name__}")
    for p, weight in mixture.items():
        if not isinstance(p, Integral) or isinstance(p, bool) or p < 1:
            raise ValueError(f"mixture: want whole orders p >= 1, got {p!r}")
        if not (isinstance(weight, Real) and math.isfinite(weight) and weight >= 0):
            raise ValueError(f"mixture: want finite c_p >= 0, got {weight!r} for p = {p}")
    return {int(p): float(weight) for p, weight in mixture.items()}
