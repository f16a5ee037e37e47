# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-10)=
# # Block spins find the Ising phases; without a lattice they find what an average finds
#
# **Question.** Averaging a system in blocks, again and again, is one way in which physics tells order from disorder. The
# same averages can be taken of the coordinates of a latent code. Does the procedure find the known phases where it was
# invented, and what is left of it where there is no lattice?
#
# **Answer.** On the square lattice energy, magnetization, free energy and the temperature of the transition agree with the
# exact solutions, the response to a field equals the fluctuation without one, and the flow runs to order below the
# transition and to disorder above it. On vectors the same code sees a mean direction best where it happens to lie along
# the blocks, and clusters no better than three random projections do.
#
# **Takes** forty seconds on one thread of a laptop and less than a gigabyte of memory.

# %%
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from latentlib import bingham, block_spin, claim, evidence, finite_size, interval, ising
from latentlib import overlap, pspin, record, response, style, sweep, torus, vmf

# %% tags=["parameters"]
sizes: list = [12, 20, 32]  # edges of the square lattices, three to six multiples of 4, rising by half or more, 12 … 128
n_replicas: int = 64  # independent chains at every temperature, 32 … 4096
n_samples: int = 70  # measurements of every chain, 20 … 10000
window: list = [2.235, 2.305]  # temperatures of the Binder crossing, about the critical one
n_temperatures: int = 6  # temperatures in the window and across each peak, 5 … 40
flow_size: int = 32  # edge of the lattice that flows, a power of 2, 16 … 256
flow_temperatures: list = [1.9, 2.1, 2.2, 2.269185, 2.35, 2.5, 2.8]  # frames of the flow, below, at and above
field_step: float = 0.03  # field of the finite difference, in units of the coupling, 0.01 … 0.2
n_codes: int = 600  # codes in the part without a lattice, 100 … 20000
n_latent: int = 128  # their dimension, 12 … 512
n_null: int = 200  # random permutations and rotations, 50 … 10000
sweep_table: str = "10_ising_block_spins"  # committed sweep over seeds; "" for none
seed: int = 0  # of every random number in this chapter

# %% [markdown]
# ## A sampler that meets the exact solutions
#
# Spins $s_i = \pm1$ on an $L\times L$ torus, $N = L^2$ of them, have the energy
# $H = -\sum_{\langle ij\rangle} s_i s_j - h\sum_i s_i$, the temperature $T$ in the same units and, at $h=0$ and
# $L\to\infty$, a transition at {cite}`onsager`
#
# $$
# T_c = \frac{2}{\ln(1+\sqrt2)} .
# $$ (eq-10-tc)
#
# The free energy and the energy per site are known for the infinite lattice {cite}`onsager` and for every finite torus
# {cite}`kaufman`; below $T_c$ the magnetization of the infinite lattice is $M = (1 - \sinh^{-4}(2/T))^{1/8}$ {cite}`yang`.
# A heat bath, all replicas and temperatures at once, has to meet them. Its random numbers are functions of seed, sweep,
# temperature, replica and site alone {cite}`philox`, so the same seed gives the same bits however the work is cut up.

# %%
style.use()
bath_at = torch.tensor([2.0, 2.5, 3.0], dtype=torch.float64)
chains = {"n_replicas": n_replicas, "n_samples": n_samples, "seed": seed}
# From "up": a random start below the critical temperature can freeze into stripes.
bath = ising.sample_ising(sizes[-1], bath_at, n_between=4, n_equilibrate=100, start="up", **chains)
energy, energy_se = bath.mean(bath.energy)
exact_energy = torus.energy_torus(bath_at, sizes[-1])
energy_excess = (energy - exact_energy) / energy_se
m_abs, m_abs_se = (values[0] for values in bath.mean(bath.magnetization.abs()))  # at 2.0, the one below T_c
exact_m = ising.magnetization_exact(2.0)  # of the infinite lattice: at 2.0 the correlation length is two sites
m_excess = (m_abs - exact_m) / m_abs_se

# %% [markdown]
# The free energy is no average over samples, but its differences follow from averages. Between two temperatures $\ln Z$
# changes by the logarithm of a ratio of two, one over the samples at each, and a ladder of temperatures adds the changes
# up. It is sampled with cluster moves {cite}`swendsen_wang`.

# %%
ladder = torch.linspace(2, 3, 11, dtype=torch.float64)
climb = ising.sample_ising(sizes[1], ladder, n_between=1, n_equilibrate=20, cluster=True, **chains)
gain, gain_se = ising.log_partition_gain(climb)
exact_gain = (torus.log_partition_torus(ladder, sizes[1]) / sizes[1] ** 2).diff().cumsum(0)
rungs = [4, 9]  # the gains from 2.0 to 2.5 and to 3.0
gain_excess = ((gain - exact_gain) / gain_se)[rungs]
worst_excess = max(energy_excess.abs().max(), m_excess.abs(), gain_excess.abs().max()).item()
record(worst_excess=worst_excess, energy=energy, magnetization=m_abs, log_partition_gain=gain[rungs])

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
rows = [
    *(f"| energy, $T = {t:.1f}$ | {u:.5f} ± {se:.5f} | {exact:.5f} |"
      for t, u, se, exact in zip(bath_at, energy, energy_se, exact_energy)),
    f"| $\\langle\\lvert m\\rvert\\rangle$, $T = 2.0$ | {m_abs:.5f} ± {m_abs_se:.5f} | {exact_m:.5f} |",
    *(f"| $\\Delta\\ln Z/N$, $2.0\\to{ladder[i + 1]:.1f}$ | {gain[i]:.5f} ± {gain_se[i]:.5f} | {exact_gain[i]:.5f} |"
      for i in rungs),
]
display(Markdown("\n".join([
    "| quantity | sampled | exact |\n|---|---|---|", *rows,
    f"\nNone of the {len(rows)} is off by more than {worst_excess:.1f} standard errors over replicas.",
])))

# %% [markdown]
# ## A fluctuation is a response
#
# In equilibrium the magnetization answers a field by as much as it fluctuates without one,
#
# $$
# \frac{\partial m}{\partial h} = \frac{N\,\mathrm{Var}\,m}{T} ,
# $$ (eq-10-fdt)
#
# and that is what entitles one to call a variance a *susceptibility*. Three tests: an average over all configurations of a
# $4\times4$ torus, sampled Ising spins above $T_c$, and the spherical spin glass with pair couplings
# {cite}`kosterlitz_thouless_jones`, whose Gibbs measure can be sampled without a Markov chain {cite}`kent`.

# %%
hot, steps = 3.0, torch.tensor([-1.0, 0, 1], dtype=torch.float64) * field_step
small = torus.torus_moments(hot, torch.tensor([-1e-4, 0, 1e-4], dtype=torch.float64), 4)
exact_slope = (small.magnetization[2] - small.magnetization[0]) / 2e-4
identity = exact_slope / (16 * small.magnetization_square[1] / hot)  # no field, no mean: the square is the variance
field_chains = chains | {"n_replicas": 6 * n_replicas}
field_run = ising.sample_ising(sizes[1], hot, steps, n_between=3, n_equilibrate=50, **field_chains)
means, means_se = field_run.mean(field_run.magnetization)
slope = response.response(steps, means, means_se)
variance = response.fluctuation(field_run.magnetization[:, 1], sizes[1] ** 2, hot)

# %%
glasses = [pspin.draw_pspin({2: 0.5}, 32, field=step.item(), seed=seed) for step in 3 * steps]  # the same couplings
draws = [
    bingham.ssk_replicas(glass, 1.5, n_replicas=200 * n_replicas, seed=seed + i) for i, glass in enumerate(glasses)]
glass_m = torch.stack([draw.mean(1) for draw in draws])
glass_slope = response.response(3 * steps, glass_m.mean(1), glass_m.std(1) / glass_m.shape[1] ** 0.5)
glass_variance = response.fluctuation(glass_m[1:2], 32, 1.5)


# %%
def ratio_of(slope, variance):
    ratio = slope.slope.item() / variance.chi.item()
    relative_square = (slope.slope_se / slope.slope) ** 2 + (variance.chi_se / variance.chi) ** 2
    return ratio, ratio * relative_square.sqrt().item()


def normal(value, se):
    return value - 1.96 * se, value + 1.96 * se


of_ising, of_glass = ratio_of(slope, variance), ratio_of(glass_slope, glass_variance)
free_spins = 1 / hot / variance.chi.item()  # what spins without couplings would answer
record(ising_ratio=of_ising[0], ising_ratio_se=of_ising[1], glass_ratio=of_glass[0], glass_ratio_se=of_glass[1])

# %% tags=["hide-input"]
claim(
    "phase-4.4-fluctuation", of_ising[0], normal(*of_ising), "[0.9, 1.1]", own_protocol=True,
    null=free_spins,
    parts={
        "exact, 4 x 4": evidence.Part(identity, None, "identity 1 ± 1e-6"),
        "pair couplings on the sphere": evidence.Part(of_glass[0], normal(*of_glass), "[0.9, 1.1]", null=0.0),
    },
    data="2-D Ising model at T = 3 and spherical model with pair couplings at 1.5 times its critical temperature",
    sizes={"n_sites": sizes[1] ** 2, "n_spins": 32}, repetitions=6 * n_replicas,
    interval_method="normal, over independent replicas",
    note="response to a field over fluctuation; null: free spins' response",
)

# %% [markdown]
# ## The flow of block spins
#
# Cut the lattice into squares of $b\times b$ spins, replace each by the sign of its sum (a tie by a coin), and call the
# result a lattice again {cite}`kadanoff,niemeijer_van_leeuwen`. Repeated, this **majority rule** runs away from the
# critical point: below $T_c$ blocks agree more and more, above it they forget each other. The null beside it is a lattice
# of coins: $n_b$ blocks have $\langle m^2\rangle = 1/n_b$ at every level and, where they are many,
# $\langle|m|\rangle = \sqrt{2/\pi n_b}$.

# %%
temperatures = torch.tensor(flow_temperatures, dtype=torch.float64)


def flow_of(size, scale_factor, temperatures, n_chains):
    one_sample = {"n_samples": 1, "n_between": 25, "n_equilibrate": 0}  # of every chain, after 25 cluster sweeps
    run = ising.sample_ising(size, temperatures, cluster=True, n_replicas=n_chains, seed=seed + size, **one_sample)
    return run.spins, block_spin.block_flow(run.spins, scale_factor, seed=seed)


spins, flow = flow_of(flow_size, 2, temperatures, n_replicas)
edges = torch.tensor(flow.sizes, dtype=torch.float64)
coins = torch.where(edges > 1, (2 / torch.pi) ** 0.5 / edges, 1.0)  # a single coin has |m| = 1


# %% tags=["hide-input"]
def draw_spins(axis, lattice):
    axis.imshow(lattice, cmap="gray", vmin=-1.6, vmax=1.2)  # greys, so that a lattice of one sign is not blank
    axis.set_axis_off()


def draw_lattices(axes, point):
    lattice = spins[point, 0]
    for axis in axes:
        draw_spins(axis, lattice)
        axis.set_title(f"{len(lattice)} × {len(lattice)}")
        lattice = block_spin.majority_rule(lattice, 2, seed=seed)


# %% tags=["hide-input"]
def draw_flow(axis, point):
    mean, low, high = interval.mean_interval(flow.magnetization[:, point].abs().T)
    axis.errorbar(range(len(mean)), mean, high - mean, fmt="o-", capsize=3, c=style.COLOR["overlap"], label="blocks")
    axis.plot(coins, "--", color=style.COLOR["null"], label="lattice of coins")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    label_levels(axis, "mean absolute magnetization")


def label_levels(axis, ylabel):
    axis.set(ylim=(0, 1.05), xlabel="level of blocking", ylabel=ylabel)


# %% tags=["hide-input"]
def draw(point):
    fig = plt.figure(figsize=(5.6, 5.0))
    top, bottom = fig.subfigures(2, 1, height_ratios=(2, 3))
    draw_lattices(top.subplots(1, 4), point)
    draw_flow(bottom.subplots(), point)
    return fig


style.slider(
    map(draw, range(len(temperatures))), [f"{t:.3f}" for t in flow_temperatures], "temperature", target="fig-10-flow",
    alt="One lattice blocked three times, and the mean absolute magnetization at each level beside that of coins.",
    caption=f"Block spins by majority. Below the critical temperature, {ising.critical_temperature:.3f}, blocks "
            "align; above it they come to resemble coins.",
)


# %% [markdown]
# The same picture for a lattice sampled now, at any temperature:

# %%
def draw_live(temperature):
    live_spins, live_flow = flow_of(flow_size, 2, torch.tensor([temperature], dtype=torch.float64), 8)
    fig, (left, right) = plt.subplots(1, 2, figsize=(5.6, 2.8))
    draw_spins(left, live_spins[0, 0])
    draw_mean(right, live_flow.magnetization[:, 0].abs().mean(1))
    return fig


def draw_mean(axis, mean):
    axis.plot(mean, "o-", color=style.COLOR["overlap"])
    label_levels(axis, "mean $|m|$ of 8 lattices")


# %% tags=["live"]
style.live(draw_live, temperature=(1.5, 4.0, 0.05), alt="A lattice and its block-spin flow at a chosen temperature.")

# %% [markdown]
# A fixed point is what blocking leaves alone. So compare a blocked lattice with an unblocked one *of as many spins*. The
# Binder cumulant $U_4 = 1 - \langle m^4\rangle/3\langle m^2\rangle^2$ {cite}`binder` is $2/3$ in perfect order and $0$ in
# disorder. On large lattices the two cumulants must agree at $T_c$. Below it the blocks look colder than the spins, above
# it hotter. Blocks of $2\times2$ at two sizes, and of $3\times3$, which have no ties:

# %%
probe = torch.tensor([2.1, ising.critical_temperature, 2.4], dtype=torch.float64)
half = flow_size // 2
blocked = {(half, 2): half // 2, (flow_size, 2): half, (27, 3): 9}  # edges of lattice and block: blocks along an edge
unblocked = [(half // 2, 2), (9, 3)]  # of as many spins; the lattice of half the size serves as both
flows = {size: flow_of(size, b, probe, 4 * n_replicas)[1].magnetization for size, b in [*blocked, *unblocked]}


def moved(size, left):
    after, before = (finite_size.binder_cumulant(m, 1) for m in (flows[size][1], flows[left][0]))
    return after.value - before.value, (after.se**2 + before.se**2).sqrt()


cumulant_moved = {key: moved(key[0], left) for key, left in blocked.items()}
rise = interval.mean_interval(flows[flow_size][2, 0].abs() - flows[flow_size][0, 0].abs())
record(**{f"binder_moved_{size}_{b}": value for (size, b), (value, _) in cumulant_moved.items()})

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
rows = [
    f"| {size} by {b} → {blocked[size, b]} | " + " | ".join(f"{u:+.3f} ± {2 * se:.3f}" for u, se in zip(*by)) + " |"
    for (size, b), by in cumulant_moved.items()]
display(Markdown("\n".join([
    "| $U_4$ of the blocks minus that of as many spins | $T = 2.1$ | $T = T_c$ | $T = 2.4$ |\n|---|---|---|---|",
    *rows,
    f"\nTwo standard errors over {4 * n_replicas} replicas. Blocking leads away from $T_c$ on both sides; at $T_c$ "
    "it changes little.",
])))

# %% [markdown]
# Blocking also creates couplings that were not there. On a $4\times4$ torus all $2^{16}$ configurations can be blocked, so
# the law of the $2\times2$ blocks is exact. Its logarithm has a coupling between blocks across the corner, and one of all
# four, where the spins had neither.

# %%
states = (2 * ((torch.arange(2**16)[:, None] >> torch.arange(16)) & 1) - 1).view(-1, 4, 4)
energies = -(states * (states.roll(1, 1) + states.roll(1, 2))).sum((1, 2)).double()
weight = torch.softmax(-energies / ising.critical_temperature, 0)
majority = block_spin.block_average(states, 2).sign().flatten(1)  # 0 for a tie: either sign, half the weight
blocks = 2 * ((torch.arange(16)[:, None] >> torch.arange(4)) & 1).double() - 1
log_law = (weight @ ((1 + majority[:, None] * blocks) / 2).prod(-1)).log()
# A coupling is the mean of the logarithm times its spins. A torus of edge 2 has bonds twice and diagonals four times.
near = (log_law @ (blocks[:, 0] * blocks[:, 1])).item() / 16 / 2
corner = (log_law @ (blocks[:, 0] * blocks[:, 3])).item() / 16 / 4
four = (log_law @ blocks.prod(1)).item() / 16
record(near=near, corner=corner, four=four, near_before=1 / ising.critical_temperature)

# %% tags=["hide-input"]
risen, *risen_interval = rise
critical, above = ([c[point].item() for c in cumulant_moved[flow_size, 2]] for point in (1, 2))
claim(
    "phase-4.2-rg-fixed-points", risen, tuple(risen_interval), "> 0", own_protocol=True,
    parts={
        "above: U_4 falls": evidence.Part(above[0], normal(*above), "< 0"),
        "critical: U_4 stays": evidence.Part(critical[0], normal(*critical), "0 ± 0.06", null=normal(*above)),
        "a coupling across the corner appears": evidence.Part(corner, (corner - 1e-12, corner + 1e-12), "> 0"),
    },
    data="2-D Ising model, majority blocks of 2 x 2, Swendsen-Wang samples; couplings: all states of a 4 x 4 torus",
    sizes={"size": [key[0] for key in blocked], "scale_factor": [2, 2, 3]}, repetitions=4 * n_replicas,
    interval_method="Student and jackknife over independent replicas",
    note="rise of |m| from spins to blocks of 4 x 4 at T = 2.1; U_4 of 2 x 2 blocks minus that of as many spins",
)

# %% [markdown]
# ## Two sizes or more: the crossing gives the critical temperature
#
# At one size there is a curve and no transition. Binder cumulants of different sizes cross at $T_c$, up to corrections that
# die out with $L$; the peak of $\chi = N(\langle m^2\rangle - \langle|m|\rangle^2)/T$ is finite at every size and grows as
# $L^{7/4}$.

# %%
near_critical = torch.linspace(*window, n_temperatures, dtype=torch.float64)
sampler = chains | {"n_between": 1, "n_equilibrate": 20, "cluster": True}


def binder_at(number, size):
    run = ising.sample_ising(size, near_critical, **sampler | {"seed": seed + 10 + number})
    return finite_size.binder_cumulant(run.magnetization, 2, average_dim=0)


binder = [binder_at(number, size) for number, size in enumerate(sizes)]
cumulants, cumulants_se = (torch.stack(column) for column in zip(*binder))

# %%
crossing = finite_size.binder_crossing(near_critical, cumulants, cumulants_se, sizes, degree=2)
shift = crossing.temperature / ising.critical_temperature - 1
record(crossing=crossing.temperature, crossing_se=crossing.se, binder_at_crossing=crossing.binder)
swept = ""
if sweep_table:
    crossings = torch.tensor(sweep.read_table(sweep_table)["crossing"].tolist())
    mean, low, high = interval.mean_interval(crossings)
    swept = f"Over the {len(crossings)} seeds of the committed sweep the mean is {mean:.4f} [{low:.4f}, {high:.4f}]. "

# %%
scaled = torch.linspace(0.3, 1.9, n_temperatures, dtype=torch.float64)  # (T − T_c)·L/T_c
peak_sampler = sampler | {"n_samples": n_samples // 2}


def susceptibility(m_square, m_abs):
    return m_square.mean(0) - m_abs.mean(0).square()


def peak_scan(number, size):
    at = ising.critical_temperature * (1 + scaled / size)
    m = ising.sample_ising(size, at, **peak_sampler | {"seed": seed + 20 + number}).magnetization
    replicas = m.square().mean(0).T, m.abs().mean(0).T  # a row for every replica
    var, low, high = interval.bootstrap_interval(susceptibility, *replicas, seed=seed, method="rows")
    return size**2 * var / at, (size**2 * high / at - size**2 * low / at) / 2


# %%
scans = [peak_scan(number, size) for number, size in enumerate(sizes)]  # χ and half its 95 % interval
peaks = [finite_size.parabola_peak(scaled, chi, half_width / 1.96) for chi, half_width in scans]
height, height_se = (torch.tensor([getattr(peak, name) for peak in peaks]) for name in ("height", "height_se"))
growth = finite_size.power_law_fit(torch.tensor(sizes), height, height_se)

# %% tags=["hide-input"]
fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.6, 6.0))
shades = [plt.get_cmap("cividis")(0.75 * i / (len(sizes) - 1)) for i in range(len(sizes))]
for size, u, se, scan, shade, mark in zip(sizes, cumulants, cumulants_se, scans, shades, "os^D*P"):
    look = {"fmt": mark + "-", "color": shade, "capsize": 2}
    top.errorbar(near_critical, u, 2 * se, label=f"$L = {size}$", **look)
    bottom.errorbar(scaled, *(part / size**1.75 for part in scan), **look)
top.axvline(ising.critical_temperature, color=style.COLOR["pca"], lw=0.8)
top.set(xlabel="temperature $T$ (the line: $T_c$)", ylabel="Binder cumulant $U_4$")
bottom.set(xlabel="scaling variable $(T - T_c)L/T_c$", ylabel=r"$\chi\,L^{-7/4}$", ylim=(0, None))
fig.legend(loc="outside upper center", ncols=len(sizes))
caption = "Cumulants cross near the exact temperature, and susceptibilities divided by $L^{7/4}$ nearly coincide."
alt = "Binder cumulants of several sizes cross near the critical temperature; scaled susceptibilities share one peak."
style.show(fig, alt=alt, caption=caption, target="fig-10-crossing")

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
display(Markdown(
    f"The crossing lies at {crossing.temperature:.4f} ± {crossing.se:.4f}, {100 * shift:+.2f} % from "
    f"{{eq}}`eq-10-tc`, at $U_4 = {crossing.binder:.3f}$. {swept}"
    f"Peak heights grow with the exponent {growth.exponent:.3f} ± {growth.exponent_se:.3f}; theory has 7/4. "
    "Errors are standard errors."
))

# %% tags=["hide-input"]
exponent, m = (growth.exponent, growth.exponent_se), ((m_abs / exact_m).item(), (m_abs_se / exact_m).item())
at = 1 + shift, crossing.se / ising.critical_temperature
claim(
    "phase-A-ising-transition", exponent[0], normal(*exponent), "1.75 ± 0.1", null=0.0, own_protocol=True,
    parts={
        "magnetization at T = 2 over its exact value": evidence.Part(m[0], normal(*m), "1 ± 0.01", null=0.0),
        "crossing over the exact critical temperature": evidence.Part(at[0], normal(*at), "1 ± 0.01", null=0.0),
    },
    data="2-D Ising model, square tori", sizes={"size": sizes}, repetitions=n_replicas,
    interval_method="normal, over independent replicas, through weighted fits",
    note="exponent of the peak height of the susceptibility; null: 0, a peak that does not know the size",
)


# %% [markdown]
# ## The same code on vectors, where there is no lattice
#
# For latent codes the blocks are $K=3$ groups of coordinates, $y_a = |B_a|^{-1}\sum_{i\in B_a} z_i$ {cite}`phase`.
# Neighbours mean nothing there: encoder and decoder can agree on any order of the coordinates and, where no axis is
# preferred, on any rotation. So every number stands beside two nulls, the same codes with permuted coordinates and with
# rotated ones. Four sets of directions whose structure is known: uniform; a field along $(1,\dots,1)$; the same field
# along the first axis; three clusters with random centres.

# %%
def unit(z):
    return z / z.norm(dim=1, keepdim=True) * n_latent**0.5


generator = torch.Generator().manual_seed(seed)
centres, noise = (torch.randn(n, n_latent, generator=generator, dtype=torch.float64) for n in (3, n_codes))
cluster, diagonal = torch.arange(n_codes) % 3, torch.ones(n_latent, dtype=torch.float64)
law = 0.4 * n_latent, n_latent, n_codes  # concentration, dimension, number of codes
codes = {
    "uniform": unit(noise),
    "diagonal field": n_latent**0.5 * vmf.sample_vmf(*law, seed=seed, mean=diagonal),
    "field along one axis": n_latent**0.5 * vmf.sample_vmf(*law, seed=seed + 1),
    "three clusters": unit(0.6 * centres[cluster] + noise),
}


# %% [markdown]
# Two statistics of the blocks. The Rayleigh statistic $3M\bar R^2$ asks whether the $M$ directions $y/|y|$, whose mean has
# the length $\bar R$, have one in common; for many uniform codes it follows $\chi^2_3$. The other is the share of the
# variance of $y$ that lies between the planted clusters.

# %%
def rayleigh(y):
    return block_spin.rayleigh_statistic(y).statistic


def between(y):
    means = torch.stack([y[cluster == number].mean(0) for number in range(3)])
    return ((means - y.mean(0)).square().sum() / 3 / y.var(0, correction=0).sum()).item()


null_draws = {"n_null": n_null, "seed": seed}
direction = {name: block_spin.block_null(z, rayleigh, **null_draws) for name, z in codes.items()}
share = {name: block_spin.block_null(z, between, **null_draws) for name, z in codes.items()}
mean_overlap = {name: overlap.overlap_moments(z).q_mean for name, z in codes.items()}
p_permuted, p_rotated = zip(*((null.p_permuted, null.p_rotated) for null in direction.values()))
record(p_permuted=list(p_permuted), p_rotated=list(p_rotated))

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 2, figsize=(5.6, 5.6), sharex=True, sharey=True)
shades = [plt.get_cmap("cividis")(0.4 * number) for number in cluster.tolist()]
for axis, (name, z) in zip(axes.flat, codes.items()):
    y = block_spin.coordinate_blocks(z)
    axis.scatter(y[:, 0], y[:, 1], s=4, c=shades if name == "three clusters" else style.COLOR["overlap"], alpha=0.7)
    axis.set(title=name, xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
fig.supxlabel("block spin $y_1$", fontsize=10.5)
fig.supylabel("block spin $y_2$", fontsize=10.5)
alt = "Two of three block coordinates for four sets of codes: the diagonal field moves the cloud far off the origin."
caption = "Block coordinates of vectors. The same field stands out along the diagonal, and much less along one axis."
style.show(fig, alt=alt, caption=caption, target="fig-10-vectors")


# %% tags=["hide-input"]
def span(null, digits):
    low, high = null.quantile(torch.tensor([0.05, 0.95], dtype=null.dtype))
    return f"{low:.{digits}f} … {high:.{digits}f}"


# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
rows = [
    f"| {name} | {mean_overlap[name]:.3f} | {null.measured:.0f} | {span(null.permuted, 0)} | {span(null.rotated, 0)} "
    f"| {share[name].measured:.3f} | {span(share[name].rotated, 3)} |"
    for name, null in direction.items()]
display(Markdown("\n".join([
    "| codes | $\\langle q\\rangle$ | Rayleigh | permuted | rotated | between clusters | rotated |",
    "|---|---|---|---|---|---|---|", *rows,
    f"\nRanges hold nine tenths of {n_null} draws. Without clusters the share between labels is that of chance, "
    f"{2 / n_codes:.3f} on average.",
])))

# %% [markdown]
# The two fields have overlaps of the same law, for overlaps do not know axes. Block spins of the diagonal field carry all
# of its mean; those of the axis field carry as much as three random projections do on average. Rotated, both look alike:
# what differed was the choice of coordinates, not the codes. The clusters are as visible to contiguous blocks as to rotated
# ones. On the lattice the sites can be permuted too, and there it destroys what blocking uses:

# %%
order_of_sites = torch.randperm(flow_size**2, generator=generator)
scrambled = spins.flatten(2)[:, :, order_of_sites].view_as(spins)
scrambled_flow = block_spin.block_flow(scrambled, 2, seed=seed)
point = min(range(len(flow_temperatures)), key=lambda k: abs(flow_temperatures[k] - 2.8))
kept, kept_low, kept_high = interval.mean_interval(flow.neighbor_correlation[1, point])
lost, lost_low, lost_high = interval.mean_interval(scrambled_flow.neighbor_correlation[1, point])
record(neighbor_correlation=kept, neighbor_correlation_scrambled=lost)

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
display(Markdown(
    f"At $T = {flow_temperatures[point]:g}$ neighbouring blocks of $2\\times2$ correlate by {kept:.3f} ± "
    f"{(kept_high - kept_low) / 2:.3f}; with the sites permuted, by {lost:.3f} ± {(lost_high - lost_low) / 2:.3f} "
    "(95 % intervals). The mean spin is the same. Neighbourhood is what blocking uses; a latent has none to offer."
))

# %% [markdown]
# ## Check

# %%
assert worst_excess <= 4  # standard errors over replicas, six quantities
assert abs(identity - 1) <= 1e-6  # central difference at 1e-4
for moves, fluctuates in ((slope, variance), (glass_slope, glass_variance)):
    assert abs(moves.slope - fluctuates.chi) <= 3 * (moves.slope_se**2 + fluctuates.chi_se**2).sqrt()
assert abs(crossing.temperature - ising.critical_temperature) <= 4 * crossing.se
assert abs(growth.exponent - 7 / 4) <= 4 * growth.exponent_se + 0.02  # corrections to scaling at these sizes
once, again = (ising.sweep_spins(bath.spins, bath_at, n_sweeps=3, seed=seed) for _ in range(2))
assert torch.equal(once, again)  # the same bits
assert direction["uniform"].p_rotated > 1 / (2 * n_null) and direction["diagonal field"].p_rotated <= 0.05

# %% [markdown]
# ## Limits
#
# - Square lattice, zero field near the transition; sizes up to those of the parameters. The crossing is not extrapolated
#   in $1/L$.
# - The part on vectors has planted structure and no network; chapter 12 points the same functions at trained codes.
# - Majority blocks of $2\times2$ break ties by coins, which adds noise that blocks of $3\times3$ do not have.
#
# ## Exercises
#
# 1. Sample the same lattice with another seed. By how many standard errors do the energies differ?
# 2. What does averaging instead of the majority rule do to $U_4$ of the whole lattice?

# %% tags=["hide-cell"]
other_chains = chains | {"seed": seed + 1}
other = ising.sample_ising(sizes[-1], bath_at, n_between=4, n_equilibrate=100, start="up", **other_chains)
other_energy, other_se = other.mean(other.energy)
apart = ((other_energy - energy) / (other_se**2 + energy_se**2).sqrt()).abs().max()
assert apart <= 4
averaged = block_spin.block_flow(spins.double(), 2, rule="average", seed=seed).magnetization
display(Markdown(
    f"1. By {apart:.1f} at most, of three. 2. Nothing: the mean of the averages is the mean of the spins, to "
    f"{(averaged - averaged[0]).abs().max():.0e}; what flows is the law of the single block."
))

# %% [markdown]
# ## Sources
#
# The exact solutions: {cite}`onsager,kaufman,yang`. Cluster moves: {cite}`swendsen_wang`; counter-based random numbers:
# {cite}`philox`. Block spins: {cite}`kadanoff,niemeijer_van_leeuwen`; cumulant: {cite}`binder`. Sampling on the sphere:
# {cite}`kent,wood`. Blocks of latent coordinates, and the claims judged here: {cite}`phase`.
