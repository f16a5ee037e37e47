"""Ising spins on the square torus, H = −Σ_⟨ij⟩ s_i s_j − field·Σ_i s_i: sampled in batches, beside exact results.

J = 1, temperature in units of J, energies per site. A *point* is one (temperature, field), a *replica* one of its
independent chains; every random number is a function of (seed, sweep, point, replica, site) alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib import _backend
from latentlib._spins import (
    STREAM_START, check_count, check_counter, check_shape, check_spins, per_point, temperatures, word_thresholds,
)  # fmt: skip
from latentlib.cluster import swendsen_wang
from latentlib.onsager import critical_temperature, energy_exact, log_partition_exact, magnetization_exact
from latentlib.reference.ising import parts, random_words
from latentlib.reference.overlap import jackknife_error

__all__ = [
    "IsingRun", "all_up", "critical_temperature", "energy_exact", "energy_per_site", "log_partition_exact",
    "log_partition_gain", "magnetization", "magnetization_exact", "random_spins", "sample_ising", "sweep_spins",
    "swendsen_wang",
]  # fmt: skip

RULES = ("heat bath", "metropolis")


def random_spins(n_points: int, n_replicas: int, size: int, *, seed: int, device: str | None = None) -> Tensor:
    """Spins at infinite temperature, each s_i = ±1 by a fair coin: (n_points, n_replicas, size, size) int8.

    More points or replicas leave those of a smaller batch as they are. device, as everywhere: None for the CPU unless
    LATENTLIB_DEVICE says otherwise. Raises: ValueError for a bad seed, counts below 1 or past what a counter can name.
    """
    spins = all_up(n_points, n_replicas, size, device=device)
    check_count("seed", seed, 0, 2**64 - 1)
    n_sites = size * size
    for part in parts(spins.shape[:2], -(-n_sites // 4), STREAM_START, 0, spins.device):
        words = random_words(part, 1, n_sites, torch.zeros(1, dtype=torch.int64, device=spins.device), seed)
        spins.flatten(0, 1)[part.rows] = (2 * (words >> 31) - 1).view(-1, size, size).to(torch.int8)
    return spins


def all_up(n_points: int, n_replicas: int, size: int, *, device: str | None = None) -> Tensor:
    """Spins all s_i = +1, a ground state: (n_points, n_replicas, size, size) int8.

    Raises: ValueError for counts below 1 or past what a counter can number.
    """
    check_shape(n_points, n_replicas, size)
    return torch.ones(n_points, n_replicas, size, size, dtype=torch.int8, device=_backend.device(device))


def sweep_spins(
    spins: Tensor, temperature: float | Tensor, field: float | Tensor = 0.0, *, n_sweeps: int, seed: int,
    first_sweep: int = 0, first_point: int = 0, first_replica: int = 0, rule: str = "heat bath",
    impl: str | None = None,
) -> Tensor:  # fmt: skip
    """Spins after checkerboard sweeps: P(s_i = 1) = 1/(1 + e^{−2(Σ_nn s + field)/temperature}) in the heat bath.

    Metropolis flips with min(1, e^{−ΔE/temperature}), surely where ΔE = 0: states in which that is so at every site,
    like diagonal stripes at zero field, it neither leaves nor reaches, so the heat bath is the safe rule.
    All replicas of all points at once; one sweep visits every site, those with i + j even first. Temperature 0 is the
    limit: energy never rises, and without a local field the heat bath tosses a fair coin. On a 2 × 2 lattice every spin
    has its neighbours twice.
    Random numbers: Philox4x32-10 under the key `seed`, counter (site, replica, point, sweep): the same bits on every
    device and by every implementation, and in parts too: first_sweep continues a run, first_point and first_replica
    number the rows of a batch cut in pieces. Probabilities are rounded to 2⁻³².
    Args: spins, (n_points, n_replicas, size, size) int8, size even; temperature ≥ 0 and field, numbers or (n_points,);
        impl, "reference", "triton" or None: the kernel on a GPU.
    Returns: a new tensor. Raises: TypeError for spins that are not int8; ValueError for another shape or other values,
    an odd size (a checkerboard does not close on its torus: take `swendsen_wang`), a negative temperature, an unknown
    rule, a bad count or seed.
    """
    check_spins(spins)
    check_counter(spins, n_sweeps, seed, first_sweep, first_point, first_replica)
    if spins.shape[-1] % 2:
        raise ValueError(f"want an even size, got {spins.shape[-1]}: a checkerboard does not close on an odd torus")
    if rule not in RULES:
        raise ValueError(f"rule: want one of {', '.join(map(repr, RULES))}, got {rule!r}")
    thresholds = _thresholds(temperatures(temperature, len(spins)), per_point("field", field, len(spins)), rule)
    module = _backend.implementation("ising", impl, spins)
    return module.sweep_spins(spins, thresholds, n_sweeps, seed, first_sweep, first_point, first_replica)


def _thresholds(temperature: Tensor, field: Tensor, rule: str) -> Tensor:
    """2³²·P(next spin = +1): (n_points, 10) int64, spin −1 then +1, neighbour sum −4, −2, 0, 2, 4 in each."""
    local_field = torch.arange(-4, 5, 2, dtype=torch.float64) + field[:, None]
    # Without a local field a spin is updated at temperature 0, where this is 0/0, as at any other.
    drive = (2 * local_field / temperature[:, None]).where(local_field != 0, 0.0)
    if rule == "heat bath":
        from_down = from_up = drive.sigmoid()
    else:
        from_down, from_up = drive.exp().clamp(max=1), 1 - (-drive).exp().clamp(max=1)
    return word_thresholds(torch.cat([from_down, from_up], 1))


def magnetization(spins: Tensor) -> Tensor:
    """Magnetization m = (1/N)Σ_i s_i of every lattice, in [−1, 1]: (n_points, n_replicas) float64.

    Raises: TypeError, ValueError for spins that are not int8 ±1, (n_points, n_replicas, size, size).
    """
    check_spins(spins)
    return spins.sum((-2, -1)).double() / spins.shape[-1] ** 2


def energy_per_site(spins: Tensor, field: float | Tensor = 0.0) -> Tensor:
    """Energy per site u = −(1/N)(Σ_i s_i(s_right + s_below) + field·Σ_i s_i): (n_points, n_replicas) float64.

    Every site has two bonds of its own, on tori of size 1 and 2 too. field, a number or (n_points,).
    Raises: TypeError, ValueError as `magnetization`, and for a field of another length.
    """
    check_spins(spins)
    bonds = magnetization(spins * spins.roll(1, -1)) + magnetization(spins * spins.roll(1, -2))
    return -bonds - per_point("field", field, len(spins)).to(spins.device)[:, None] * magnetization(spins)


@dataclass(frozen=True)
class IsingRun:
    """Independent chains, measured: magnetization and energy per site (n_samples, n_points, n_replicas) float64."""

    temperature: Tensor  # (n_points,)
    field: Tensor
    magnetization: Tensor
    energy: Tensor  # per site, the field's term included
    spins: Tensor  # the last ones: with first_sweep = n_sweeps the run goes on
    n_sweeps: int

    def mean(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard error over replicas of the means over samples, (n_points,) each.

        values, (n_samples, n_points, n_replicas), such as run.magnetization.abs(). Samples of one chain are dependent,
        replicas are not. Raises: ValueError for another shape, or one replica.
        """
        if values.shape != self.magnetization.shape or values.shape[2] < 2:
            wanted = f"{tuple(self.magnetization.shape)}, n_replicas >= 2"
            raise ValueError(f"want values (n_samples, n_points, n_replicas) = {wanted}, got {tuple(values.shape)}")
        chains = values.double().mean(0)
        return chains.mean(1), chains.std(1) / chains.shape[1] ** 0.5


def sample_ising(
    size: int, temperature: float | Tensor, field: float | Tensor = 0.0, *, n_replicas: int, n_samples: int,
    n_between: int, n_equilibrate: int, seed: int, start: str = "random", cluster: bool = False,
    impl: str | None = None, progress: bool = False,
) -> IsingRun:  # fmt: skip
    """Samples of the Gibbs law e^{−H/temperature}/Z: n_equilibrate sweeps, then a measurement every n_between sweeps.

    Args: temperature, field, a number or (n_points,) each; start, "random" or "up": below the critical temperature at
        zero field local sweeps from a random start freeze into stripes, and from "up" they keep one sign; cluster, take
        Swendsen–Wang sweeps, which do neither, instead of the checkerboard heat bath: any size, zero field.
    On the device of LATENTLIB_DEVICE. Raises: ValueError as `sweep_spins`, for counts below 1 (n_equilibrate 0), an
    unknown start, or clusters in a field.
    """
    n_points = max(torch.as_tensor(control).numel() for control in (temperature, field))
    temperature, field = temperatures(temperature, n_points), per_point("field", field, n_points)
    check_count("n_samples", n_samples, 1, 2**32)
    check_count("n_between", n_between, 1, 2**32)
    check_count("n_equilibrate", n_equilibrate, 0, 2**32)
    if start not in ("random", "up"):
        raise ValueError(f"start: want 'random' or 'up', got {start!r}")
    if cluster and (field != 0).any():
        raise ValueError(f"cluster: want zero field, got {field.tolist()}")
    shape = n_points, n_replicas, size
    spins = random_spins(*shape, seed=seed) if start == "random" else all_up(*shape)

    def advance(spins: Tensor, first_sweep: int, n_sweeps: int) -> Tensor:
        if cluster:
            return swendsen_wang(spins, temperature, n_sweeps=n_sweeps, seed=seed, first_sweep=first_sweep)
        return sweep_spins(spins, temperature, field, n_sweeps=n_sweeps, seed=seed, first_sweep=first_sweep, impl=impl)

    spins = advance(spins, 0, n_equilibrate)
    measured = []
    for sample in _progress_bar(n_samples, progress):
        spins = advance(spins, n_equilibrate + sample * n_between, n_between)
        measured.append(torch.stack([magnetization(spins), energy_per_site(spins, field)]))
    magnetizations, energies = torch.stack(measured, 1).cpu()
    return IsingRun(temperature, field, magnetizations, energies, spins, n_equilibrate + n_samples * n_between)


def _progress_bar(n_steps: int, progress: bool) -> Iterable[int]:
    if not progress:
        return range(n_steps)
    from tqdm.auto import tqdm

    return tqdm(range(n_steps), desc="Ising samples")


def log_partition_gain(run: IsingRun) -> tuple[Tensor, Tensor]:
    """Gain of ln Z/N since the first temperature, step by step: Z_{i+1}/Z_i = ⟨e^{−ΔE/2}⟩_i/⟨e^{ΔE/2}⟩_{i+1}.

    Δ is the step of the inverse temperature, E the energy of a lattice. An identity for any two temperatures, whose
    estimate is consistent, biased by O(1/n_replicas), and useless where the energies hardly overlap: take small steps.
    Neighbouring steps share a run, so their errors add up rather than cancel: the jackknife goes over the sums.
    Returns: gains and their jackknife errors over replicas, (n_points − 1,) each. Raises: ValueError for one point, one
    replica, a temperature of 0, or fields that differ.
    """
    n_points, n_replicas = run.energy.shape[1:]
    if n_points < 2 or n_replicas < 2 or (run.temperature == 0).any() or (run.field != run.field[0]).any():
        raise ValueError(
            f"want two or more positive temperatures of one field, and replicas, got temperatures "
            f"{run.temperature.tolist()}, fields {run.field.tolist()}, n_replicas = {n_replicas}"
        )
    n_sites = run.spins.shape[-1] ** 2
    half_step = (1 / run.temperature).diff()[:, None] / 2
    chains = [run.energy[:, :-1] * -half_step * n_sites, run.energy[:, 1:] * half_step * n_sites]
    down, up = (chain.logsumexp(0) for chain in chains)  # (n_points − 1, n_replicas)
    full = ((down.logsumexp(1) - up.logsumexp(1)) / n_sites).cumsum(0)
    without = ((_without_each(down) - _without_each(up)) / n_sites).cumsum(0)
    return full, torch.tensor([jackknife_error(values) for values in without], dtype=full.dtype)


def _without_each(log_weights: Tensor) -> Tensor:
    """ln Σ_{j≠i} e^{w_j} for every i: (…, n) of (…, n)."""
    n = log_weights.shape[-1]
    others = log_weights[..., None, :].masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    return others.logsumexp(-1)
