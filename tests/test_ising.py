"""Ising spins: published random numbers, the same bits in any pieces, exact averages, the kernel, and every error."""

import os
import subprocess
import sys

import pytest
import torch

from latentlib import ising
from latentlib.reference import ising as reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"

needs_kernel = pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="no GPU and no interpreter")
both_rules = pytest.mark.parametrize("rule", ising.RULES)


def enumerated(size: int, temperature: float, field: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Every state of a small torus: its Gibbs weight, magnetization and energy per site, field term included."""
    n_sites = size * size
    bits = torch.arange(2**n_sites)[:, None] >> torch.arange(n_sites) & 1
    spins = (2 * bits - 1).to(torch.int8).view(1, -1, size, size)
    energy = ising.energy_per_site(spins, field)[0]
    return (-energy * n_sites / temperature).softmax(0), ising.magnetization(spins)[0], energy


def agree(values: torch.Tensor, exact: float, n_errors: float = 4) -> bool:
    """Whether the mean of independent values is exact within standard errors: 4 fail by chance once in 16 000."""
    return bool(abs(values.mean() - exact) <= n_errors * values.std() / len(values) ** 0.5)


# The random numbers


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)  # fmt: skip
def test_philox_gives_the_published_vectors(counter, key, words):
    # kat_vectors of Random123, the library of the paper that defines the generator.
    found = reference.philox(tuple(torch.tensor([word]) for word in counter), key[0] + (key[1] << 32))
    assert tuple(int(word) for word in found) == words


def test_random_words_are_uniform_and_used_once():
    part = next(reference.parts((2, 50), 25, 0, 0, torch.device("cpu")))
    words = reference.random_words(part, 2, 50, torch.arange(40), 7)
    assert words.shape == (40, 100, 2, 50) and 0 <= words.min() and words.max() < 2**32
    # 4·10⁵ words: a number drawn for two sites, sweeps or lattices would show as equal words, of which chance gives
    # n²/2³³ = 19 pairs, with a Poisson error of 4.3.
    n_pairs = len(words.flatten()) - len(words.unique())
    assert abs(n_pairs - 18.6) <= 4 * 18.6**0.5
    for bit in range(32):  # each bit is a fair coin
        assert agree((words >> bit & 1).double().flatten(), 0.5, 5)


@pytest.mark.parametrize("size", [1, 5, 6])
def test_random_spins_are_fair_coins_that_a_larger_batch_keeps(size):
    spins = ising.random_spins(3, 400, size, seed=11)
    assert spins.shape == (3, 400, size, size) and spins.dtype == torch.int8 and (spins.abs() == 1).all()
    assert agree(spins.double().flatten(), 0)
    assert torch.equal(spins[:2, :70], ising.random_spins(2, 70, size, seed=11))
    assert not torch.equal(spins, ising.random_spins(3, 400, size, seed=12))
    assert torch.equal(ising.all_up(3, 400, size), torch.ones_like(spins))


# The same bits


@both_rules
def test_sweep_spins_same_seed_same_bits_in_any_pieces(rule, monkeypatch):
    spins = ising.random_spins(3, 5, 6, seed=1)
    temperature, field = torch.tensor([1.5, 2.5, 0.0]), torch.tensor([0.0, 0.3, -0.2])
    options = {"seed": 2**63 + 5, "rule": rule}
    whole = ising.sweep_spins(spins, temperature, field, n_sweeps=7, **options)
    assert torch.equal(whole, ising.sweep_spins(spins, temperature, field, n_sweeps=7, **options))
    # Sweeps in two runs, replicas and points apart.
    halfway = ising.sweep_spins(spins, temperature, field, n_sweeps=4, **options)
    assert torch.equal(whole, ising.sweep_spins(halfway, temperature, field, n_sweeps=3, first_sweep=4, **options))
    part = ising.sweep_spins(
        spins[1:, 2:], temperature[1:], field[1:], n_sweeps=7, first_point=1, first_replica=2, **options
    )
    assert torch.equal(whole[1:, 2:], part)
    # The reference cuts its work by the size of the cache.
    for n_counters in (1, 30, 2**22):
        monkeypatch.setattr(reference, "COUNTERS_THREAD", n_counters)
        assert torch.equal(whole, ising.sweep_spins(spins, temperature, field, n_sweeps=7, **options))
    columns_first = spins.mT.contiguous().mT
    assert torch.equal(whole, ising.sweep_spins(columns_first, temperature, field, n_sweeps=7, **options))
    assert torch.equal(spins, ising.random_spins(3, 5, 6, seed=1))  # the input is left alone
    assert torch.equal(spins, ising.sweep_spins(spins, temperature, field, n_sweeps=0, **options))
    for other in ({"seed": 6}, {"first_sweep": 1}, {"first_point": 1}, {"first_replica": 1}):
        moved = ising.sweep_spins(spins, 2.5, n_sweeps=7, **(options | other))
        assert not torch.equal(moved, ising.sweep_spins(spins, 2.5, n_sweeps=7, **options))


def test_sample_ising_same_seed_same_bits_and_goes_on():
    options = {"n_replicas": 6, "n_between": 2, "n_equilibrate": 3}
    for cluster in (False, True):
        run, again = (ising.sample_ising(4, 2.3, n_samples=5, seed=3, cluster=cluster, **options) for _ in range(2))
        assert torch.equal(run.spins, again.spins) and torch.equal(run.energy, again.energy)
        assert run.n_sweeps == 13
        longer = ising.sample_ising(4, 2.3, n_samples=7, seed=3, cluster=cluster, **options)
        assert torch.equal(longer.magnetization[:5], run.magnetization)
        move = ising.swendsen_wang if cluster else ising.sweep_spins
        assert torch.equal(longer.spins, move(run.spins, 2.3, n_sweeps=4, seed=3, first_sweep=13))
        assert torch.equal(run.magnetization[-1], ising.magnetization(run.spins))


# The kernel


@needs_kernel
@both_rules
@pytest.mark.parametrize(("n_points", "n_replicas", "size"), [(1, 1, 2), (2, 3, 6), (3, 2, 10), (1, 5, 16)])
def test_sweep_spins_kernel_gives_the_bits_of_the_reference(n_points, n_replicas, size, rule):
    spins = ising.random_spins(n_points, n_replicas, size, seed=5, device=DEVICE)
    temperature, field = torch.linspace(0, 2.3, n_points), torch.linspace(0.5, 0, n_points)
    for seed, first_sweep, first_replica in ((0, 0, 0), (2**64 - 3, 2**32 - 3, 2**31 + 9)):
        numbers = {"seed": seed, "first_sweep": first_sweep, "first_replica": first_replica, "first_point": 3}
        found = [
            ising.sweep_spins(spins, temperature, field, n_sweeps=3, rule=rule, impl=impl, **numbers)
            for impl in ("reference", "triton")
        ]
        assert torch.equal(*found)
        assert size == 2 or not torch.equal(found[0], spins)


@needs_kernel
def test_sweep_spins_kernel_leaves_what_lies_around(monkeypatch):
    # Guards before and behind the lattices: a write past them, or a neighbour read there, would show.
    spins = ising.random_spins(2, 3, 6, seed=5, device=DEVICE)
    memory = torch.full((spins.numel() + 128,), 77, dtype=torch.int8, device=DEVICE)
    inside = memory[64:-64].view(spins.shape)
    inside.copy_(spins)
    monkeypatch.setattr(torch.Tensor, "clone", lambda self, **kwargs: self)
    found = ising.sweep_spins(inside, 2.3, n_sweeps=2, seed=0, impl="triton")
    monkeypatch.undo()
    assert torch.equal(found, ising.sweep_spins(spins, 2.3, n_sweeps=2, seed=0, impl="reference"))
    assert (memory[:64] == 77).all() and (memory[-64:] == 77).all()


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from latentlib.kernels import ising as kernel
for colour, counters in ((0, "i32"), (1, "i64")):
    types = ["*i8", "*i64", counters, "i32", "i32", "i32", "i32", "i64", "i64", "i64", "i64", "i64"]
    constants = dict(COLOUR=colour, BLOCK=kernel.COUNTERS_PROGRAM)
    signature = dict(zip(kernel._update_colour.arg_names, types)) | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel._update_colour, signature=signature, constexprs=constants)
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
    assert ptx.count("st.global.b8") == 4 and "mul.hi.u32" in ptx, ptx
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings its compiler on Linux alone")
def test_sweep_spins_kernel_compiles_without_a_gpu():
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# What is measured


def test_magnetization_and_energy_of_known_states():
    up = ising.all_up(2, 1, 4)
    chequered = (1 - 2 * (torch.arange(4)[:, None] + torch.arange(4)).remainder(2)).to(torch.int8).expand(2, 1, 4, 4)
    striped = (1 - 2 * (torch.arange(4) // 2)).to(torch.int8).expand(2, 1, 4, 4)  # half its bonds across break
    field = torch.tensor([0.0, 0.7])
    for spins, m, bonds in ((up, 1.0, -2.0), (chequered, 0.0, 2.0), (striped, 0.0, -1.0)):
        assert torch.equal(ising.magnetization(spins), torch.full((2, 1), m, dtype=torch.float64))
        assert torch.allclose(ising.energy_per_site(spins, field)[:, 0], bonds - field.double() * m, rtol=0, atol=1e-15)
    # A torus of size 1 has two bonds of its site to itself; of size 2, each bond twice.
    assert ising.energy_per_site(ising.all_up(1, 1, 1)).item() == -2
    assert ising.energy_per_site(torch.tensor([[[[1, 1], [1, -1]]]], dtype=torch.int8)).item() == 0


@both_rules
@pytest.mark.parametrize("size", [2, 4])
def test_sweep_spins_samples_the_enumerated_law(size, rule):
    # One sample of each of 2000 independent replicas, after 300 sweeps: a spin against its neighbours and the field,
    # the first step from one magnetized state to the other, has odds above e^(−2·4.15/2.5) = 1/28 a sweep.
    points = [(3.0, 0.0 if rule == "heat bath" else 0.1), (2.5, 0.15), (3.5, -0.4), (5.0, 1.0)]
    temperature, field = torch.tensor(points, dtype=torch.float64).T
    spins = ising.random_spins(4, 2000, size, seed=2)
    spins = ising.sweep_spins(spins, temperature, field, n_sweeps=300, seed=3, rule=rule)
    m, energy = ising.magnetization(spins), ising.energy_per_site(spins, field)
    for point, (one_temperature, one_field) in enumerate(points):
        weight, exact_m, exact_energy = enumerated(size, one_temperature, one_field)
        for found, exact in ((m, exact_m), (m.square(), exact_m.square()), (energy, exact_energy)):
            assert agree(found[point], weight @ exact)
        assert agree(energy[point].square(), weight @ exact_energy.square())


def test_sweep_spins_leaves_the_gibbs_law_invariant_exactly():
    # One colour is independent given the other: from the thresholds, the transition matrix on all 16 states of a 2 × 2
    # torus; it leaves Gibbs' law as it is, but for probabilities rounded by 2⁻³³, of two sites each.
    for rule in ising.RULES:
        temperature, field = torch.tensor([[1.7], [0.4]], dtype=torch.float64)
        up = ising._thresholds(temperature, field, rule)[0].double() / 2**32
        states = 1 - 2 * (torch.arange(16)[:, None] >> torch.arange(4) & 1)  # sites (0,0), (0,1), (1,0), (1,1)
        weight = (-ising.energy_per_site(states.to(torch.int8).view(1, 16, 2, 2), field)[0] * 4 / 1.7).softmax(0)
        for colour in ((0, 3), (1, 2)):
            others = [site for site in range(4) if site not in colour]
            total = 2 * states[:, others].sum(1)  # both neighbours, twice each
            transition = torch.ones(16, 16, dtype=torch.float64)
            for site in colour:
                chance = up[(5 * (states[:, site] + 1)) // 2 + (total + 4) // 2]
                transition *= torch.where(states[:, site] == 1, chance[:, None], 1 - chance[:, None])
            for site in others:
                transition *= (states[:, site, None] == states[:, site]).double()
            assert torch.allclose(transition.sum(1), torch.ones(16, dtype=torch.float64), rtol=0, atol=1e-14)
            assert torch.allclose(weight @ transition, weight, rtol=0, atol=4 * 2.0**-33)


def test_sample_ising_meets_onsager_and_yang():
    # A torus of 64 stands for the infinite lattice: corrections are of order e^(−64/ξ), and the correlation length
    # 1/ξ = −ln tanh(1/T) − 2/T above the critical temperature, 6 at 2.5, is the largest here.
    temperature = torch.tensor([2.0, 2.5, 3.0], dtype=torch.float64)
    run = ising.sample_ising(
        64, temperature, n_replicas=32, n_samples=80, n_between=4, n_equilibrate=200, seed=4, start="up"
    )
    energy, error = run.mean(run.energy)
    assert (abs(energy - torch.tensor([-1.7455645753, -1.1060792037, -0.8173095925])) <= 3 * error).all()
    assert (abs(energy - ising.energy_exact(temperature)) <= 3 * error).all() and (error < 2e-3).all()
    # Below the critical temperature |m| is the spontaneous magnetization: no chain that starts up turns over here.
    m, error = run.mean(run.magnetization.abs())
    assert (run.magnetization[:, 0] > 0.5).all()
    assert abs(m[0] - 0.9113194) <= 3 * error[0] and error[0] < 1e-3
    assert abs(m[0] - ising.magnetization_exact(2.0)) <= 3 * error[0]


def test_sample_ising_two_seeds_agree():
    runs = [
        ising.sample_ising(8, 2.4, 0.05, n_replicas=100, n_samples=20, n_between=5, n_equilibrate=50, seed=seed)
        for seed in (1, 2)
    ]
    for values in ("energy", "magnetization"):
        (mean, error), (other_mean, other_error) = (run.mean(getattr(run, values)) for run in runs)
        assert mean != other_mean and abs(mean - other_mean) <= 3 * (error.square() + other_error.square()).sqrt()


def test_log_partition_gain_is_the_tables():
    from latentlib import torus

    temperature = torch.linspace(2, 3, 9, dtype=torch.float64)
    run = ising.sample_ising(
        16, temperature, n_replicas=40, n_samples=40, n_between=5, n_equilibrate=150, seed=6, start="up"
    )
    found, error = ising.log_partition_gain(run)
    exact = torch.tensor([torus.log_partition_torus(t, 16) for t in temperature.tolist()], dtype=torch.float64)
    exact = (exact / 256).diff().cumsum(0)
    # From 2 to 2.5 and to 3, the temperatures of the table, and to every one between.
    assert (abs(found - exact) <= 3.5 * error).all() and (abs(found - exact) <= 3 * error)[[3, 7]].all()
    assert (error < 1e-3).all()


def test_log_partition_gain_error_is_the_spread_over_runs():
    temperature = torch.linspace(2.5, 3.5, 5, dtype=torch.float64)
    options = {"n_replicas": 12, "n_samples": 4, "n_between": 3, "n_equilibrate": 20}
    found = [ising.log_partition_gain(ising.sample_ising(8, temperature, seed=seed, **options)) for seed in range(60)]
    gain, error = (torch.stack(column) for column in zip(*found))
    # The sd of 60 runs is known to 1/√120 = 9 %, the jackknife of 12 replicas is biased by O(1/12) of itself.
    assert ((error.square().mean(0).sqrt() / gain.std(0) - 1).abs() <= 4 * 120**-0.5).all()


def test_log_partition_gain_is_exact_reweighting():
    # Two chains a point with energies by hand: the identity written out, its error from its values without each.
    energy = torch.tensor([[[-1.5, -1.0], [-0.5, -0.25]], [[-1.0, -1.25], [-0.75, 0.0]]], dtype=torch.float64)
    temperature = torch.tensor([1.0, 2.0], dtype=torch.float64)
    spins = ising.all_up(2, 2, 2)
    run = ising.IsingRun(temperature, torch.zeros(2), torch.zeros_like(energy), energy, spins, 2)

    def difference(replicas: list[int]) -> float:
        total = 4 * energy[:, :, replicas]
        ratio = (total[:, 0] * 0.25).exp().mean() / (-total[:, 1] * 0.25).exp().mean()  # Δ = 1/2 − 1
        return ratio.log().item() / 4

    found, error = ising.log_partition_gain(run)
    assert found.item() == pytest.approx(difference([0, 1]), rel=1e-14)
    # (N − 1)/N·Σ(θ_i − θ̄)² of two values is a quarter of their difference squared.
    assert error.item() == pytest.approx(abs(difference([1]) - difference([0])) / 2, rel=1e-13)


def test_mean_is_over_replicas():
    run = ising.sample_ising(4, [2.0, 3.0], n_replicas=5, n_samples=3, n_between=1, n_equilibrate=0, seed=0)
    mean, error = run.mean(run.energy)
    chains = run.energy.mean(0)
    assert torch.equal(mean, chains.mean(1))
    assert torch.allclose(error, chains.std(1) / 5**0.5, rtol=1e-14)
    with pytest.raises(ValueError, match=r"want values .* = \(3, 2, 5\), n_replicas >= 2, got \(2, 5\)"):
        run.mean(chains)
    alone = ising.sample_ising(4, 2.0, n_replicas=1, n_samples=3, n_between=1, n_equilibrate=0, seed=0)
    with pytest.raises(ValueError, match=r"n_replicas >= 2, got \(3, 1, 1\)"):
        alone.mean(alone.energy)


# Limits


@both_rules
def test_sweep_spins_at_zero_temperature_never_gains_energy(rule):
    spins, field = ising.random_spins(1, 50, 8, seed=0), 0.5
    energies = [ising.energy_per_site(spins, field)]
    for sweep in range(12):
        spins = ising.sweep_spins(spins, 0.0, field, n_sweeps=1, seed=1, first_sweep=sweep, rule=rule)
        energies.append(ising.energy_per_site(spins, field))
    assert (torch.stack(energies).diff(dim=0) <= 0).all() and (energies[-1] < energies[0]).all()
    up = ising.all_up(1, 3, 8)
    assert torch.equal(ising.sweep_spins(up, 0.0, n_sweeps=5, seed=1, rule=rule), up)
    # A field over 4 outweighs all neighbours.
    assert torch.equal(ising.sweep_spins(spins, 0.0, -4.5, n_sweeps=1, seed=1, rule=rule), -ising.all_up(1, 50, 8))


def test_sweep_spins_metropolis_never_leaves_diagonal_stripes():
    # Two neighbours up, two down: ΔE = 0 everywhere, so each colour in turn flips as a whole, and it stays so.
    stripes = 1 - 2 * ((torch.arange(8)[:, None] + torch.arange(8)) // 2 % 2)
    spins = stripes.to(torch.int8).expand(1, 50, 8, 8)
    assert torch.equal(ising.sweep_spins(spins, 3.0, n_sweeps=1, seed=0, rule="metropolis"), -spins)
    assert torch.equal(ising.sweep_spins(spins, 3.0, n_sweeps=30, seed=0, rule="metropolis"), spins)
    melted = ising.sweep_spins(spins, 3.0, n_sweeps=30, seed=0)
    assert ising.energy_per_site(melted).mean() < -0.5  # the heat bath is on its way to −0.82


@pytest.mark.parametrize("temperature", [0.0, 1e-3, 1e-310, 0.7])
def test_sweep_spins_tosses_a_fair_coin_without_a_local_field(temperature):
    # Field 4 against four neighbours down: the first colour of an all-down lattice has no local field.
    spins = ising.sweep_spins(-ising.all_up(1, 200, 8), temperature, 4.0, n_sweeps=1, seed=9)
    even = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2) == 0
    assert agree(spins[..., even].double().flatten(), 0)


# Bad input

UP = ising.all_up(2, 3, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spins": ising.all_up(2, 3, 5)}, "want an even size, got 5: a checkerboard does not close on an odd torus"),
        ({"spins": ising.all_up(1, 1, 1)}, "want an even size, got 1"),
        ({"spins": UP[0]}, r"spins: want \(n_points, n_replicas, size, size\), none of them 0, got \(3, 4, 4\)"),
        ({"spins": UP[..., :2]}, r"none of them 0, got \(2, 3, 4, 2\)"),
        ({"spins": UP[:, :0]}, r"none of them 0, got \(2, 0, 4, 4\)"),
        ({"spins": 2 * UP}, "spins: want values −1 and \\+1, got others"),
        ({"temperature": -1.0}, "temperature: want values of 0 or more, got -1"),
        ({"temperature": float("inf")}, r"temperature: want finite values, got \[?inf"),
        ({"temperature": torch.ones(3)}, r"temperature: want a number or \(n_points = 2,\), got \(3,\)"),
        ({"field": torch.ones(2, 1)}, r"field: want a number or \(n_points = 2,\), got \(2, 1\)"),
        ({"field": float("nan")}, r"field: want finite values, got \[?nan"),
        ({"rule": "glauber"}, "rule: want one of 'heat bath', 'metropolis', got 'glauber'"),
        ({"n_sweeps": -1}, "n_sweeps: want a whole number from 0 to 4294967296, got -1"),
        ({"n_sweeps": 1.0}, "n_sweeps: want a whole number .* got 1.0"),
        ({"seed": 2**64}, "seed: want a whole number from 0 to 18446744073709551615, got 18446744073709551616"),
        ({"first_sweep": 2**32 - 1}, "first_sweep: want a whole number from 0 to 4294967294, got 4294967295"),
        ({"first_point": 2**28 - 1}, "first_point: want a whole number from 0 to 268435454, got 268435455"),
        ({"first_replica": -2}, "first_replica: want a whole number from 0 to 4294967293, got -2"),
        ({"impl": "cuda"}, "impl: want None, 'reference' or 'triton', got 'cuda'"),
    ],
)  # fmt: skip
def test_sweep_spins_refuses_bad_input(change, message):
    arguments = {"spins": UP, "temperature": 2.0, "field": 0.0, "n_sweeps": 2, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        ising.sweep_spins(**arguments)


@pytest.mark.parametrize("measure", [ising.magnetization, ising.energy_per_site])
def test_magnetization_and_energy_refuse_bad_spins(measure):
    with pytest.raises(TypeError, match="spins: want an int8 tensor, got torch.float32"):
        measure(UP.float())
    with pytest.raises(TypeError, match="spins: want an int8 tensor, got list"):
        measure([1, -1])
    with pytest.raises(ValueError, match=r"got \(4, 4\)"):
        measure(UP[0, 0])


def test_random_spins_refuses_bad_counts():
    for counts, message in (
        ((0, 1, 4), "n_points: want a whole number from 1 to 268435456, got 0"),
        ((1, 0, 4), "n_replicas: want a whole number from 1 to 4294967296, got 0"),
        ((1, 1, 0), "size: want a whole number from 1 to 32768, got 0"),
    ):
        for draw in (lambda *counts: ising.random_spins(*counts, seed=0), ising.all_up):
            with pytest.raises(ValueError, match=message):
                draw(*counts)
    with pytest.raises(ValueError, match="seed: want a whole number"):
        ising.random_spins(1, 1, 4, seed=-1)


def test_sample_ising_refuses_bad_input():
    good = {"n_replicas": 2, "n_samples": 2, "n_between": 1, "n_equilibrate": 0, "seed": 0}
    for change, message in (
        ({"n_samples": 0}, "n_samples: want a whole number from 1"),
        ({"n_between": 0}, "n_between: want a whole number from 1"),
        ({"n_equilibrate": -1}, "n_equilibrate: want a whole number from 0"),
        ({"start": "hot"}, "start: want 'random' or 'up', got 'hot'"),
        ({"field": 0.1, "cluster": True}, r"cluster: want zero field, got \[0.1\]"),
        (
            {"temperature": [1.0, 2.0], "field": [0.0, 0.1, 0.2]},
            r"temperature: want a number or \(n_points = 3,\), got \(2,\)",
        ),
        ({"size": 5}, "want an even size, got 5"),
    ):
        with pytest.raises(ValueError, match=message):
            ising.sample_ising(**({"size": 4, "temperature": 2.0} | good | change))


def test_log_partition_gain_refuses_what_has_no_gain():
    good = {"n_replicas": 2, "n_samples": 2, "n_between": 1, "n_equilibrate": 0, "seed": 0}
    for change in (
        {"temperature": 2.0}, {"temperature": [0.0, 1.0]}, {"temperature": [1.0, 2.0], "field": [0.0, 0.1]},
        {"temperature": [1.0, 2.0], "n_replicas": 1},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="want two or more positive temperatures of one field, and replicas, got"):
            ising.log_partition_gain(ising.sample_ising(4, **(good | change)))


def test_sample_ising_shows_progress(capsys):
    quiet, shown = (
        ising.sample_ising(2, 2.0, n_replicas=1, n_samples=3, n_between=1, n_equilibrate=0, seed=0, progress=progress)
        for progress in (False, True)
    )
    assert torch.equal(quiet.spins, shown.spins) and "3/3" in capsys.readouterr().err
