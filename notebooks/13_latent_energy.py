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
# (ch-13)=
# # The energy of a trained decoder is no glass, and training no Langevin dynamics on it
#
# **Question.** The spin-glass dictionary calls the reconstruction error of one input, seen as a function of the
# code, a *latent energy*. Is that of a trained decoder a spin glass? Are codes its low states, classes its basins,
# two inputs its replicas, and is training its Langevin dynamics?
#
# **Answer.** In words yes, in numbers no. Codes lie low in the energies of their inputs, as reconstruction demands.
# But most of these energies have a single minimum, which says nothing of classes; two inputs are no replicas of each
# other; the spin-glass prediction for the number of minima agrees only where there is nothing to count; and in
# training the codes hardly move along their own forces. What is exact of the dictionary is its algebra: on the sphere
# a quadratic prior is a field.
#
# **Takes** half a minute on one thread of a laptop and less than a gigabyte of memory; the committed sweeps take
# half an hour on two.

# %%
import matplotlib.pyplot as plt, torch
from IPython.display import Markdown, display
from latentlib import (claim, compression, datasets, hyperspherical, kac_rice, landscape, langevin, langevin_fit,
    latent_mixture, loss_balance, minima, models, nulls, observables, overlap, phase, pspin, record, repetitions,
    response, sharpening, style, taylor, training_force, vmf)

# %% tags=["parameters"]
dataset: str = "digits"  # labelled data, a name of datasets.catalogue() or a file
n_train: int = 1000  # samples of every training, 200 … all but n_test
n_test: int = 400  # held-out samples, 120 … 10000
n_epochs: int = 35  # epochs of every training, 1 … 1000
hidden: list = [64, 64]  # widths of the encoder's layers, mirrored by the decoder, 8 … 1024
n_latent: int = 16  # latents n, 3 … 128
strengths: list = [0.0, 1.0]  # compression α of the two networks, 0, no field, to 1, published
kl_weight: float = 10.0  # ratio of loss and error before the first step, 1e-3 … 1000
preset: str = "ijcnn2025"  # the compressing loss: ijcnn2025 or nested_vmf
eps: float = 1e-6  # under the roots of its cosines, relative to the radius, 0 … 1e-2
n_landscapes: int = 4  # inputs with a landscape of their own, half a second each, 2 … 50
n_starts: int = 12  # descents on each where minima are counted, 8 … 1000
n_draws: int = 24  # random decoders, and points of Taylor coefficients, 12 … n_test
n_chain: int = 400  # steps of every chain of replicas, half of them to tune its step, 100 … 100000
n_steps: int = 20  # recorded steps of stochastic gradient descent, after as many alone, 11 … 1000
decoder_sizes: list = [16, 32, 64, 128, 256]  # latents of the random decoders of one figure, two or more, 3 … 1024
sweep_table: str = "13_latent_energy"  # committed sweep over seeds, on digits; "" for none
mnist_table: str = "13_mnist"  # the same on MNIST; "" for none
seed: int = 0  # of the split, the weights and every random number

# %% [markdown]
# The energy of one input $x$ is the error of its reconstruction from a code $z$, on the sphere of all codes,
#
# $$
# H_x(z) = \frac{1}{d}\,\lvert D(z) - x\rvert^2, \qquad \lvert z\rvert^2 = n ,
# $$ (eq-13-energy)
#
# with $d$ pixels and the decoder $D$. Every input has an energy of its own.
#
# ## What the instruments say where the answer is known
#
# First a matter of algebra. A quadratic prior around a preferred mean $m$ is
#
# $$
# \begin{gathered}
# \tfrac{\lambda}{2}\lvert\mu-m\rvert^2 = \tfrac{\lambda}{2}\left(n+\lvert m\rvert^2\right) - \lambda\,m\cdot\mu \\
# \text{where}\quad \lvert\mu\rvert^2 = n :
# \end{gathered}
# $$ (eq-13-prior)
#
# a constant and an external field. Off the sphere $\lvert\mu\rvert^2$ moves, and the two forms part.

# %%
style.use()
real, spots, own = {"dtype": torch.float64}, nulls.uniform_codes, repetitions.Repetitions()
runs = repetitions.of_table(sweep_table) if sweep_table else own
mnist = repetitions.of_table(mnist_table) if mnist_table else None
tables = {f"{dataset}, {len(runs)} seeds": runs} if sweep_table else {}
tables |= {"this page": own} | ({"MNIST": mnist} if mnist else {})


def tell(*lines):
    display(Markdown("\n".join(lines)))


def points(axis, at, values, kind, **look):  # mean over seeds and its interval
    mean, low, high = runs.spread(values)
    look |= {"marker": style.MARKER[kind], "color": style.COLOR[kind], "capsize": 3}
    axis.errorbar(at, mean, [mean - low, high - mean], **look)


# %%
def drawn(*shape, number=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 7919 * number + shape[0]), **real)


def beside(title, rows, *more, digits=2):  # rows, text = name of a number
    tell(f"| {title} | " + " | ".join(tables) + " |", "|---" * (len(tables) + 1) + "|", *(f"| {text} | " + " | ".join(
        of.words(name, digits) for of in tables.values()) + " |" for text, name in rows.items()), *more)


def parts(name, expected, null=None, **others):  # others, name = (expectation, null); and the claim's number on MNIST
    found = {other.replace("_", " "): runs.part(other, *wanted) for other, wanted in others.items()}
    return found | ({"on MNIST": mnist.part(name, expected, null)} if mnist else {})


def apart(n, stretch):  # largest relative distance of the two forms, at a thousand random points and means
    mu, mean = stretch * spots(1000, n, seed=seed), drawn(1000, n)
    whole, linear = (mu - mean).square().sum(1), n + mean.square().sum(1) - 2 * (mu * mean).sum(1)
    return (whole / linear - 1).abs().max().item()


# %% tags=["hide-input"]
dimensions, (fig, axis) = [4, 16, 64, 256, 1024], plt.subplots(figsize=(5.6, 2.8))
apart_on, apart_off = ([apart(n, stretch) for n in dimensions] for stretch in (1.0, 1.2))
own.keep(apart_on=max(apart_on), apart_off=min(apart_off))
axis.loglog(dimensions, apart_off, color=style.COLOR["null"], marker="o", label="radius $1.2\\sqrt{n}$")
axis.loglog(dimensions, apart_on, color=style.COLOR["pca"], marker="x", label="on the sphere")
axis.set(xlabel="dimension $n$", ylabel="relative distance", ylim=(1e-17, 1e4)), axis.legend(loc="center right")
style.show(fig, target="fig-13-prior", alt="Prior less field: at rounding on the sphere, of order one off it.",
           caption="A quadratic prior less a constant and a field, on the sphere and off it.")
claim("phase-eq14-prior-field", *own.stat("apart_on"), "< 1e-12", null=min(apart_off), own_protocol=True,
      parts={"off the sphere": own.part("apart_off", "> 0.01", max(apart_on))}, data="random vectors, float64",
      sizes={"n_latent": dimensions}, repetitions=1000, interval_method="the largest of all",
      note="largest relative deviation of the two forms over all sizes; off the sphere the least over sizes")

# %% [markdown]
# **On the sphere a quadratic prior is a constant and a field, to rounding.** The compressing loss of the networks
# below is no such prior: it asks for means and widths of angles. What would change our mind: a distance above
# rounding, on the sphere.
#
# Then the sampler. *Replicas* are independent draws from the Gibbs measure $e^{-H/T}$ of one energy, here by
# Langevin chains on the sphere. In a field alone they follow the von Mises–Fisher law, whose mean overlap and
# susceptibility $\chi = n\operatorname{Var}q$ are known {cite}`mardia_jupp`. Half of the chains start along the
# field and half at random: what they have not forgotten shows as a difference of their energies.

# %%
def field_chains(strength):
    along = torch.ones(16, **real)
    energy = landscape.latent_energy(lambda z: 0 * z[:, :1], torch.zeros(1, **real), strength * along)
    starts = torch.cat([along.expand(200, -1), spots(200, 16, seed=seed)])
    return langevin.gibbs_replicas(energy, 1.0, starts=starts, n_steps=250, seed=seed)


known = []  # (what, measured, its standard error, known)
for strength, run in {strength: field_chains(strength) for strength in (0.3, 1.0, 3.0)}.items():
    found, left = overlap.overlap_moments(run.z), run.energy.view(2, 200).mean(1).diff().item()
    exact = vmf.vmf_order(16 * strength, 16.0) ** 2, vmf.vmf_susceptibility(16 * strength, 16.0)
    known += [(f"$\\langle q\\rangle$ in a field {strength}", found.q_mean, found.q_mean_se, exact[0])]
    known += [(f"$\\chi$ in a field {strength}", found.chi, found.chi_se, exact[1])]
    known += [(f"energy left of the start, field {strength}", left, run.energy.std().item() / 10, 0.0)]

# %% [markdown]
# And the counter of minima and the Taylor coefficients. The energy of a linear decoder is quadratic, with two
# minima on the sphere at most, exactly two at $x = 0$; where $x$ is the image of a code, that code is the deepest.
# The mean number of minima of a three-spin glass in a random field is known exactly {cite}`auffinger,belius`. A
# pure four-spin has the rms coefficients $\sqrt{\binom{4}{p}}$, that is 2, $\sqrt6$, 2, 1 {cite}`crisanti_sommers`.

# %%
def linear_landscape(n, target, number):
    weight = drawn(n, len(target), number=number) / n**0.5
    return landscape.latent_energy(lambda z: z @ weight, target, n_latent=n)


def from_deepest(number):  # distance of the deepest minimum of a linear decoder from the code that made x
    z, decoder = spots(1, 6, seed=seed + number), linear_landscape(6, torch.zeros(20, **real), number).decoder
    found = minima.count_minima(linear_landscape(6, decoder(z)[0], number), 12, seed=seed)
    return (found.z[0] - z[0]).abs().max().item()


def decay_of(landscapes, z, order):  # rms Taylor coefficients over points z and eight tangents at each
    along, energies = taylor.tangent_directions(z, 8, seed=seed), [of.energy for of in landscapes]
    return taylor.taylor_decay(taylor.taylor_coefficients(energies, z, along, order).normalised, seed=seed)


# %% tags=["hide-input"]
# NBVAL_CHECK_OUTPUT
blank = [linear_landscape(6, torch.zeros(20, **real), i) for i in range(5)]
fields, glasses = torch.tensor([0.0, 1.7], **real), [pspin.draw_pspin({3: 1.0}, 6, seed=seed + i) for i in range(20)]
of_glass, of_linear = (
    latent_mixture.count_along_field(of, fields, n_starts=24, seed=seed) for of in (glasses, blank))
mean, low, high = of_glass.mean()
count_se = (high - low) / 2 / 2.093  # Student's 97.5 % point of twenty landscapes
known += [(f"minima of three spins in a field {fields[i]:.1f}", mean[i].item(), count_se[i].item(), exact.item())
          for i, exact in enumerate(torch.as_tensor(kac_rice.n_minima({3: 1.0}, 6, fields)))]
furthest, some = torch.tensor([from_deepest(i) for i in range(5)]), range(n_draws)
spins = [pspin.draw_pspin({4: 1.0}, n_latent, seed=seed + i) for i in some]
pure_four = decay_of(spins, spots(n_draws, n_latent, seed=seed), 4)
four_se, exact_four = (pure_four.b_high - pure_four.b_low) / 3.92, taylor.expected_rms({4: 1.0}, 4)
known += [(f"rms coefficient of four spins, $p = {p}$", *(of[p].item() for of in (pure_four.b, four_se, exact_four)))
          for p in range(1, 5)]
away = [abs(value - exact) / se for _, value, se, exact in known]
tell("| instrument | measured | known | distance (s.e.) |\n|---|---|---|---|", *(
    "| {} | {:.3f} ± {:.3f} | {:.3f} | {:.1f} |".format(*row, far) for row, far in zip(known, away)),
    f"\nLinear decoders: {of_linear.n_minima[0].min()} to {of_linear.n_minima[0].max()} minima at $x = 0$, "
    f"{of_linear.n_minima.max()} at most in a field. In {(furthest < 1e-6).sum()} of 5 the code of $x$ is deepest.")

# %% [markdown]
# ## Two networks, and two that learned nothing
#
# Two perceptrons of smooth activation have the same data, batches and steps. One is trained without compression,
# one pays the published loss of {ref}`ch-20` {cite}`ijcnn` at full strength, its weight fixed before the first step
# as in {ref}`ch-21`. Nulls are an untrained network and a decoder whose trained weights are shuffled within every
# layer. Four more networks differ from the compressed one in the seed of weights and batches, a fifth in a slightly
# weaker field.

# %%
data = datasets.load(dataset)
shuffle = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[: n_train + n_test]
images, labels_test = data.matrix()[shuffle].double() / data.matrix().max(), data.y[shuffle][-n_test:]
x, x_test, n_pixels = images[:-n_test], images[-n_test:], images.shape[1]
published = {"preset": preset, "direction": "half", "eps": eps}
budget = {"n_epochs": n_epochs, "batch_size": min(200, len(x)), "learning_rate": 2e-3, "anneal": "constant",
          "auto_tune": False, "separate_steps": False, "progress": False}


def untrained(twin=0):
    return models.MLPVAE(n_pixels, n_latent, tuple(hidden), seed=seed + 1009 * twin)


def weight_of(model):  # β: loss and error in the given ratio before the first step, at full strength
    return kl_weight * loss_balance.equal_kl_weight(model, x[:200].float(), seed=seed, **published)


# %%
def trained(strength, twin=0):
    model = untrained(twin)
    options = published | budget | {"kl_weight": weight_of(model), "seed": seed + 1009 * twin}
    compression.fit_compressed(model, x, field=strength, **options)
    return model.double()


# %% tags=["remove-output"]
model_of = {"none": trained(strengths[0]), "full": trained(strengths[-1])}
loose, full, nearly = *model_of.values(), trained(strengths[-1] - 0.125)
twins = [full, *(trained(strengths[-1], twin) for twin in range(1, 5))]


def codes_of(model):
    z = model.encode(x_test)[0].detach()
    return z * (n_latent / z.square().sum(1, keepdim=True)) ** 0.5


def energy_of(model, i):
    return landscape.latent_energy(model.decoder, x_test[i], n_latent=n_latent)


own.keep(lengths=[len(x), n_test, n_epochs, n_latent, n_landscapes, n_starts])
n_samples, _, _, size, *_ = runs.values("lengths", -1)[0].int().tolist()
protocol = {"repetitions": len(runs), "data": f"{dataset}, perceptron VAEs", "trained": True,
            "sizes": {"n_samples": n_samples, "n_latent": size}, "interval_method": "Student, over seeds, if any"}

# %% [markdown]
# With a committed sweep every number, interval and verdict below is over *its* seeds, at its larger budget. Without
# one it is this page's own run, which decides nothing about trained networks.
#
# ## Is the code of an input a low state of its energy?
#
# A low state is low beside something. Compared are the codes of other inputs, random points of the sphere, and the
# best that descents from all of these find. An untrained encoder knows nothing of the energy: half of the other
# codes lie below its own.

# %%
def lower(model):  # share of codes of other inputs, and of random points, with less energy than the own code
    made = [model.decode(z).detach() for z in (codes_of(model), spots(len(x_test), n_latent, seed=seed))]
    energy = [of.square().mean(1) + x_test.square().mean(1)[:, None] - 2 * x_test @ of.T / n_pixels for of in made]
    below, random = ((of < energy[0].diagonal()[:, None]).double() for of in energy)
    return (below.sum() / (len(below) ** 2 - len(below))).item(), random.mean().item()


def descents(model, i):  # from the own code, forty codes of others, forty random points: energies, ends
    z, energy = codes_of(model), energy_of(model, i)
    starts = torch.cat([z[i][None], z[-40:], spots(40, n_latent, seed=seed + i)])
    down = minima.quench(energy, starts=starts, max_steps=1000)
    return energy.energy(starts).detach(), down.energy, down.z, down.finished.double()


down = {name: [torch.stack(of) for of in zip(*(descents(model, i) for i in range(n_landscapes)))]
        for name, model in model_of.items()}

# %% tags=["hide-input"]
(fig, axes), groups = plt.subplots(2, 1, figsize=(5.6, 4.8), sharex=True), ("end", "random", "others", "own code")
for axis, (name, (start, stop, *_)) in zip(axes, down.items()):
    for i, of in enumerate((stop, start[:, 41:], start[:, 1:41], start[:, :1])):
        heights = torch.linspace(-0.2, 0.2, len(of))[:, None].expand_as(of)
        axis.scatter(of, i + heights, s=9, alpha=0.5, lw=0, color=style.COLOR["null" if i == 1 else "attractor"])
    axis.set(title=f"compression: {name}", yticks=range(4), yticklabels=groups, ylim=(-0.5, 3.5), xscale="log")
axes[1].set(xlabel="energy $H_x$, squared error a pixel")
style.show(fig, target="fig-13-low", alt="Energies of own codes, others' codes, random points, ends of descents.",
           caption="Energies of a few inputs of this page, a line of points for each.")

# %% tags=["hide-input"]
# NBVAL_CHECK_OUTPUT
(begin, end, _, finished), (lower_codes, lower_points) = down["full"], lower(full)
way = (begin[:, 0] - end.amin(1)) / (begin[:, 41:].mean(1) - end.amin(1))
own.keep(lower_codes=lower_codes, random_points_lower=lower_points, lower_null=lower(untrained().double())[0],
         way_left=way.mean(), lower_none=lower(loose)[0], finished=finished.mean())
claim("phase-3.2-low-energy", *runs.stat("lower_codes"), "< 0.05", null=runs.stat("lower_null")[0], **protocol,
      parts=parts("lower_codes", "< 0.05", "lower_null", random_points_lower=("< 0.05", 0.5), way_left=("< 0.1", 1)),
      note="share of other inputs' codes that have a lower energy than the own; null: an untrained network")
beside("share with less energy than the own code", {"codes of others": "lower_codes",
       "random points": "random_points_lower", "codes of others, no compression": "lower_none",
       "codes of others, untrained": "lower_null", "*way down that is left*": "way_left"}, digits=3)

# %% [markdown]
# **Codes lie low, and not lowest.** Few codes of other inputs and few random points lie below the own code, with
# compression or without, and half of them do where nothing is learned. An encoder is trained for all inputs at once
# and descends on no single energy: of a linear VAE its mean is the exact minimum, of any other there is a gap left,
# here about as large as was allowed. A low code is what reconstruction means, and is no sign of a glass. What would
# change our mind: other codes below the own as often as in an untrained network, or a code far up the way from the
# best end.
#
# ## Are islands of codes basins?
#
# On one energy $H_x$, descents from codes of one class may end in one minimum, those from another class elsewhere:
# then islands would be basins. Two ends are one where $q > 0.99$. Where an energy has a single minimum all descents
# meet there, shares are 1 for codes and random points alike, and nothing is decided.

# %%
def shares(z):  # of pairs whose descents end together: of one class, of two, random points; number of distinct ends
    meet, other = (z @ z.T > 0.99 * n_latent).double(), ~torch.eye(40, dtype=torch.bool)
    of_codes, random = meet[1:41, 1:41], meet[41:, 41:][other].mean()
    return torch.stack([of_codes[alike & other].mean(), of_codes[~alike].mean(), random, (1 / meet.sum(1)).sum()])


alike = labels_test[-40:, None] == labels_test[-40:]
met, met_none = (torch.stack([shares(z) for z in down[name][2]]) for name in ("full", "none"))
excess, of_classes, several = met[:, 0] - met[:, 2], met[:, 0] - met[:, 1], met[:, 3] > 1.5
own.keep(basin=excess.mean(), less_two_classes=of_classes.mean(), met=met, met_none=met_none, several=several.sum(),
         basin_several=excess[several].sum() / several.sum().clamp(min=1))

# %% tags=["hide-input"]
(fig, (left, right)), names = plt.subplots(1, 2, figsize=(5.6, 3.4)), ("one\nclass", "two\nclasses", "random\npoints")
all_met, all_none = (runs.values(name, -1, 4).flatten(0, 1).T for name in ("met", "met_none"))
spread, dots = torch.linspace(-0.25, 0.25, all_met.shape[1]), {"marker": "o", "ls": "", "ms": 3, "alpha": 0.6}
for i, kind in enumerate(("attractor", "attractor", "null")):
    left.plot(i + spread, all_met[i], color=style.COLOR[kind], **dots)
    left.plot([i - 0.3, i + 0.3], [all_met[i].mean()] * 2, color=style.COLOR["pca"], lw=2)
for i, of in enumerate((all_none, all_met)):
    right.plot(i + spread, of[3], color=style.COLOR["attractor"], **dots)
left.set(xticks=range(3), xticklabels=names, ylim=(0, 1.05), ylabel="share of pairs that end together")
right.set(xticks=range(2), xticklabels=("none", "full"), xlabel="compression", ylabel="distinct ends", ylim=(0, None))
style.show(fig, target="fig-13-basins", alt="Pairs of descents that end together, and number of distinct ends.",
           caption="A point an input, all seeds. Left, full compression, with means; right, of 81 starts.")

# %% tags=["hide-input"]
claim("phase-A-basin-islands", *runs.stat("basin"), "> 0", parts=parts("basin", "> 0", less_two_classes=("> 0",)),
      **protocol, note="share of pairs of codes of a class whose descents on one energy end together (q > .99), "
                       "less random ones")
rugged = all_met[:, all_met[3] > 1.5]  # shares on energies of two ends or more
gains = [f"{(rugged[0] - rugged[i]).mean():.2f}" for i in (2, 1)] if rugged.numel() else ["", ""]
over = f"; over these alone the two differences are {gains[0]} and {gains[1]}" * (rugged.numel() > 0)
beside("pairs of one class that end together", {"less random points": "basin", "less two classes": "less_two_classes",
       "*energies of two ends or more, a seed*": "several", "*descents that reached their tolerance*": "finished"},
       f"\nOf {all_met.shape[1]} energies at full compression {rugged.shape[1]} have two ends or more{over}.")

# %% [markdown]
# **Most energies have one basin, and islands of codes are not basins.** Minima belong to one input and not to a class:
# on $H_x$ the codes of other inputs are starting points like any others, only nearer to what was learned. Where there
# are several ends, codes meet more often than random points do, and those of two classes nearly as often as those of
# one. What would change our mind: several ends on most energies, and codes of one class that part from those of other
# classes.
#
# ## Are two inputs two replicas?
#
# A replica is another draw from the Gibbs measure of *one* energy; two inputs have two energies and are a *pair*.
# The temperature $T = 2\langle H\rangle/d$, twice the fitted variance of the decoder in units of $H_x$, makes the
# measure $e^{-H_x/T}$ the posterior of a uniform prior on the sphere. Beside both stand two draws of the encoder's
# own posterior at one input. Half of the chains start at the own code, half where descents from random points have
# ended: from such points themselves a cold chain would take very long.

# %%
codes, inputs = codes_of(full), range(n_landscapes)
mu, log_var = (of.detach() for of in full.encode(x_test))
temperature = 2 * (full.decode(codes) - x_test).square().mean().item() / n_pixels


def chains(i, factor=1.0, n_each=20, n_steps=n_chain):
    starts = torch.cat([codes[i].expand(n_each, -1), down["full"][2][i, -n_each:]])  # ends from random points
    more = {"starts": starts, "n_steps": n_steps, "seed": seed}
    return langevin.gibbs_replicas(energy_of(full, i), factor * temperature, **more)


def posterior(i):  # forty draws of the encoder at one input
    noise = torch.Generator().manual_seed(seed + i)
    return hyperspherical.sphere_sample(mu[i].expand(40, -1), log_var[i].expand(40, -1), noise)


# %%
gibbs = [chains(i) for i in inputs]
draws = {"replicas": torch.stack([of.z for of in gibbs]), "posterior": torch.stack([posterior(i) for i in inputs])}
moments, pairs = {name: response.replica_moments(z) for name, z in draws.items()}, overlap.overlap_moments(codes)
chi, mean_q, q_nearly = n_latent * moments["replicas"].q_var, moments["replicas"].q_mean, codes_of(nearly)
within = observables.posterior_observables(mu, log_var, on_sphere=True, seed=seed)["q_within_input"][0]
at_code, at_random = torch.stack([of.energy for of in gibbs]).view(n_landscapes, 2, 20).unbind(1)
other_seeds = response.susceptibility_between_seeds(torch.stack(list(map(codes_of, twins))), align="orthogonal")
own.keep(pairs_chi=pairs.chi / chi, pairs_null=1 / chi, mean_overlap=pairs.q_mean / mean_q,
         draws_overlap=within / mean_q, chi_pairs=pairs.chi, chi_replicas=chi,
         chi_posterior=n_latent * moments["posterior"].q_var, chi_seeds=other_seeds.chi,
          chi_response=(pairs.q_mean - overlap.overlap_moments(q_nearly).q_mean) / 0.125,
         not_forgotten=((at_random.mean(1) - at_code.mean(1)) / at_code.std(1)).mean())

# %% tags=["hide-input"]
by_class = [of for of in (codes[labels_test == c] for c in labels_test.unique()) if len(of) > 1]
sets = {"pairs of inputs": [codes], "pairs of one class": by_class, "one posterior": draws["posterior"],
        "replicas": draws["replicas"]}


def density(sets_of_codes):
    return torch.stack([overlap.overlap_histogram(z.contiguous(), n_bins=40).density for z in sets_of_codes]).mean(0)


fig, axis = plt.subplots(figsize=(5.6, 3.6))
for (name, of), kind, dash in zip(sets.items(), ("overlap", "overlap", "collapse", "attractor"), "-:--"):
    axis.stairs(density(of), torch.linspace(-1, 1, 41), color=style.COLOR[kind], ls=dash, lw=1.6, label=name)
axis.set(xlabel="overlap $q$", ylabel="density $P(q)$", xlim=(-1, 1)), fig.legend(loc="outside upper center", ncols=2)
style.show(fig, target="fig-13-replicas", alt="Overlaps of pairs, of one class, of one posterior, of replicas.",
           caption="Full compression, this page: inputs, encoder draws at one input, replicas of one energy.")

# %% tags=["hide-input"]
# NBVAL_CHECK_OUTPUT
triples = {f"{name} {i}": z for name, of in draws.items() for i, z in enumerate(of)}
tree = overlap.ultrametricity(codes, labels_test, n_triples=4000, seed=seed, others=triples)
gap_of = {f"tree_{name}": sum(tree.others[f"{name} {i}"][0] for i in inputs) / n_landscapes for name in draws}
own.keep(tree=tree.gap, tree_classes=tree.nulls["class mixture"].values.mean(), **gap_of)
claim("phase-A-pairs-replicas", *runs.stat("pairs_chi"), "1 ± 0.2", null=runs.stat("pairs_null")[0], **protocol,
      parts=parts("pairs_chi", "1 ± 0.2", "pairs_null", mean_overlap=("1 ± 0.2", 0), draws_overlap=("1 ± 0.2", 0)),
      note="chi across inputs over that of Gibbs replicas at fixed input; null: uniform codes for the codes")
given = {"pairs": pairs, "replicas": moments["replicas"]}
rules = {name: phase.classify_phase(**{name: of}, n_minima=max(1, met[:, 3].mean().round().int().item()))
         for name, of in given.items()}
beside("over that of replicas", {"$\\chi$ of pairs": "pairs_chi", "$\\langle q\\rangle$ of pairs": "mean_overlap",
       "$\\langle q\\rangle$ of posterior draws": "draws_overlap", "*energy left of start (s.d.)*": "not_forgotten"})
beside("$\\chi$, 1 without structure", {"pairs of inputs": "chi_pairs", "encoder at one input": "chi_posterior",
       "replicas of one energy": "chi_replicas", "training seeds, one input": "chi_seeds",
       "response $d\\langle q\\rangle/d\\alpha$, 0 without": "chi_response"})
beside("triangle gap, 0 in a tree", {"codes": "tree", "mixtures of their classes": "tree_classes",
       "replicas": "tree_replicas", "posterior draws": "tree_posterior"},
       "\nPhase on this page: " + ", ".join(f"by {name} {of.phase or 'open'}" for name, of in rules.items()) + ".")

# %% [markdown]
# **Two inputs are not two replicas.** Pairs read how the encoder spreads the data; replicas read how flat one energy
# is at a temperature that the decoder's error sets. Their susceptibilities differ by a large factor; a mean overlap
# that comes near is no more than one number near another. Two draws of one posterior come closer, as they should: both
# belong to one input. The word susceptibility has five meanings and five values; to compare seeds, the codes of each
# network are rotated onto those of the first. A tree of states would bring the triangle gap of replicas {cite}`rammal`
# below that of a single cloud, as posterior draws are one. On the few energies of two basins it is there, because cold
# chains stay in the basin in which they began: two clouds, no tree. Classes lower that of pairs without any glass.
# What would change our mind: all three ratios at 1, on several data sets and compressions.
#
# Colder replicas gather, hotter ones forget the energy:

# %% tags=["hide-input", "live"]
def draw_replicas(factor):
    run, (fig, axis) = chains(0, factor, n_each=40, n_steps=100), plt.subplots(figsize=(5.6, 3.2))
    axis.stairs(density([run.z]), torch.linspace(-1, 1, 41), color=style.COLOR["attractor"], fill=True, alpha=0.7)
    axis.set(xlabel="overlap $q$", ylabel="density $P(q)$", xlim=(-1, 1), ylim=(0, 8))
    chi_now, order = overlap.susceptibility(run.z), overlap.overlap_moments(run.z).q_mean
    return axis.set_title(f"$\\langle q\\rangle = {order:.2f}$, $\\chi = {chi_now:.2f}$").figure


factors, alt = [0.25, 0.5, 1.0, 2.0, 4.0], "Overlaps of replicas of one energy at a multiple of its temperature."
style.slider(map(draw_replicas, factors), [f"{factor:g}" for factor in factors], "temperature over the posterior's",
             alt=alt, target="fig-13-temperature", caption="Replicas of the energy of one input, by temperature.")
style.live(draw_replicas, factor=factors, alt=alt)

# %% [markdown]
# ## Do the Taylor coefficients fall?
#
# Along a unit tangent $v$ at a point of the sphere, $a_p = D_v^pH/p!$ and $\hat b_p = \lvert
# a_p\rvert\,n^{(p-1)/2}$. The source proves that $\hat b_p$ falls geometrically if the derivatives do, at a fixed
# $n$, and proposes to measure the mean ratio $\hat b_{p+1}/\hat b_p$ from $p = 3$ on. In a decoder of one hidden
# layer whose weights have variance $1/n$ each derivative brings $n^{-1/2}$, which the normalisation takes back: its
# ratio should not know $n$. Without such weights it would grow as $\sqrt n$. A pure four-spin is the glass that the
# test should *not* pass, if it told glasses from others.

# %%
def random_landscape(n, width, number):
    inner, outer = drawn(n, width, number=number) / n**0.5, drawn(width, n_pixels, number=number + 9999) / width**0.5
    return landscape.latent_energy(lambda z: torch.tanh(z @ inner) @ outer, x_test[0], n_latent=n)


at_codes = decay_of([energy_of(full, i) for i in some], codes.roll(-1, 0)[:n_draws], 6)  # each at another's code
drawn_at = {n: [random_landscape(n, 64, i) for i in some] for n in decoder_sizes}
decays = [decay_of(of, spots(n_draws, n, seed=seed), 6) for n, of in drawn_at.items()]
ln_ratio = torch.tensor([of.ratio for of in decays]).log()
own.keep(decay=sharpening.log_slope(decoder_sizes, ln_ratio), decoder_sizes=decoder_sizes,
         ratio_first=decays[0].ratio, ratio_last=decays[-1].ratio, b_random=torch.stack([of.b[1:] for of in decays]),
         at_codes=at_codes.ratio, pure_four=pure_four.ratio, b_trained=at_codes.b[1:], b_four=pure_four.b[1:])

# %% tags=["hide-input"]
fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.6, 6))
ns, b_mean = runs.values("decoder_sizes", -1)[0].int().tolist(), runs.values("b_random", -1, 6).mean(0)
for i, n in enumerate(ns):
    top.semilogy(range(1, 7), b_mean[i], "o-", color=style.COLOR["hessian"], label=n, alpha=(i + 1) / len(ns))
points(bottom, range(1, 7), runs.values("b_trained", 6), "attractor", label="trained, at codes")
points(bottom, range(1, 5), runs.values("b_four", 4), "null", label="pure four-spin")
top.set(title="random decoders", ylabel="rms $\\hat b_p$", xlim=(0.7, 6.3)), bottom.set(yscale="log", xlim=(0.7, 6.3))
bottom.set(title="trained decoder, and a glass", ylabel="rms $\\hat b_p$", xlabel="order $p$")
top.legend(ncols=3, title="latents $n$"), bottom.legend()
style.show(fig, target="fig-13-taylor", alt="Taylor coefficients by order: random decoders, a trained one, a glass.",
           caption="Root mean square over points and tangent directions, mean over seeds where a table is read.")

# %% tags=["hide-input"]
claim("phase-thmB3-decay", *runs.stat("decay"), "[-0.1, 0.1]", null=0.5, **protocol,
      parts=parts("decay", "[-0.1, 0.1]", 0.5),
      note="slope of ln of the mean ratio of Taylor coefficients from p = 3 on against ln n; null: unnormalised ones")
claim("phase-B6-p0", *runs.stat("at_codes"), "< 1", null=runs.stat("pure_four")[0], **protocol,
      parts=parts("at_codes", "< 1", "pure_four"),
      note="mean ratio of Taylor coefficients from p = 3 on at codes of others; null: a pure four-spin, p = 3, 4")
beside("mean ratio from $p = 3$ on", {f"random decoders, $n = {ns[0]}$": "ratio_first",
       f"random decoders, $n = {ns[-1]}$": "ratio_last", "*its power in $n$*": "decay",
       "trained, at codes": "at_codes", "pure four-spin": "pure_four"}, digits=3)

# %% [markdown]
# **In random decoders the mean ratio does not know $n$, and it is no decay.** That it does not know $n$ is the scale
# of the weights, put in by hand; from $p = 3$ on the coefficients *grow*, at every $n$ alike. The theorem grants a
# rate below one only where the derivatives have it. What would change our mind: a ratio of random decoders that moves
# with $n$.
#
# **At trained codes the ratio is near one, below it on MNIST and not clearly on digits.** Whatever it is, that of a
# pure glass is one half on the same window: the test says that $a_{p+1}/a_p$ lies below $1/\sqrt n$, or does not, and
# says nothing about glass. What would change our mind: a trained ratio whose interval lies below 1 on both data sets.
#
# ## Is $H_x$ a mixed $p$-spin?
#
# Every energy on the sphere has Taylor coefficients, and these name a mixture $\xi(q) = \sum_p c_pq^p$, glass or
# not. What a mixture *predicts* is the number of minima, and the field beyond which one is left,
#
# $$
# h_c^2 = \max\left(\xi''(1) - \xi'(1),\; 0\right) .
# $$ (eq-13-field)
#
# So a field is raised on the same landscapes, in units of $h_c$, or of $\sqrt{\xi'(1)}$ where $h_c = 0$, and minima
# are counted. Random decoders have one wide hidden layer of $\tanh$; a linear decoder and shuffled weights are the
# controls.

# %%
steps, widths, few = [0.0, 0.5, 1.0, 2.0], [16, 32, 64, 128, 256], {"n_resamples": 99, "seed": seed}
kinds = {"random": [random_landscape(n_latent, widths[-1], i) for i in inputs],
         "linear": [linear_landscape(n_latent, x_test[i], i) for i in inputs]}
kinds |= {name: [energy_of(of, i) for i in inputs]
          for name, of in {"trained": loose, "shuffled": nulls.shuffled_weights(loose, seed=seed)}.items()}
one = spots(1, n_latent, seed=seed).expand(n_draws, -1)  # one point, many decoders
wide = [[random_landscape(n_latent, n, i).energy for i in some] for n in widths]


def raised(landscapes, found):  # minima counted and predicted, in fields up to twice that predicted to leave one
    height = (found.trivialization_field or found.slope**0.5) * torch.tensor(steps, **real)
    counts = latent_mixture.count_along_field(landscapes, height, n_starts=n_starts, seed=seed).mean()[0]
    return counts, [latent_mixture.predict_minima(found, of, **few)[0] for of in height.tolist()]


# %%
for name, of in kinds.items():
    energies, at = [of[i % n_landscapes].energy for i in some], spots(n_draws, n_latent, seed=seed + 1)
    found = latent_mixture.infer_mixture(energies, at, order=4, n_directions=8, **few)
    counts, wanted = raised(of, found)
    own.keep(**{f"counted_{name}": counts, f"predicted_{name}": wanted, f"raw_{name}": found.negative_share,
                f"bend_{name}": found.curvature / found.slope, f"field_{name}": found.trivialization_field,
                f"reduced_{name}": found.trivialization_field / found.slope**0.5,
                f"universal_{name}": (counts[0].clamp(min=0.5) / wanted[0]).log()})
lines = taylor.tangent_directions(one, 32, seed=seed)
third = torch.stack([taylor.taylor_coefficients(of, one, lines, 3).coefficient[..., 3].flatten() for of in wide])
kurtosis = (third / third.std(1, keepdim=True)).pow(4).mean(1) - 3
own.keep(kurtosis=kurtosis, kurtosis_narrow=kurtosis[0], kurtosis_widest=kurtosis[-1])

# %% tags=["hide-input"]
fig, axes = plt.subplot_mosaic("ab;cd;kk", figsize=(5.6, 7.4))
for key, name in zip("abcd", kinds):
    points(axes[key], steps, runs.values(f"counted_{name}", 4), "attractor", label="counted")
    points(axes[key], steps, runs.values(f"predicted_{name}", 4), "pca", ls="--", label="predicted")
    axes[key].set(title=f"{name} decoder", ylim=(0, None), xticks=steps, ylabel="minima" * (key in "ac"))
    axes[key].set_xlabel("field, in its unit" * (key in "cd"))
points(axes["k"], widths, runs.values("kurtosis", -1), "hessian"), axes["k"].axhline(0, color="k", ls=":", lw=1)
axes["k"].set(xscale="log", xlabel="width of the hidden layer", ylabel="excess kurtosis", title="third derivatives")
axes["k"].minorticks_off(), axes["k"].set_xticks(widths, widths), axes["a"].legend()
style.show(fig, target="fig-13-field", alt="Minima counted and predicted in a field; kurtosis by width.",
           caption="Minima in a field, and those of a mixed $p$-spin of equal slopes. Last: random decoders.")

# %% tags=["hide-input"]
# NBVAL_CHECK_OUTPUT
null = runs.stat("universal_linear")[0]
wanted = {"universal_trained": ("0 ± 0.7", null), "kurtosis_widest": ("0 ± 0.3", runs.stat("kurtosis_narrow")[0])}
claim("phase-2-universality", *runs.stat("universal_random"), "0 ± 0.7", null=null, **protocol,
      parts=parts("universal_random", "0 ± 0.7", "universal_linear", **wanted),
      note="ln of counted over predicted minima, wide random decoder; nulls: linear decoder, narrowest kurtosis")
texts = {"universal": "ln of counted over predicted", "bend": "$\\xi''(1)/\\xi'(1)$",
         "reduced": "$h_c/\\sqrt{\\xi'(1)}$", "raw": "share of negative weights"}
rows = {f"{text}, {name}": f"{of}_{name}" for of, text in texts.items() for name in kinds}
beside("minima and mixture", rows | {"kurtosis, widest": "kurtosis_widest", "kurtosis, narrowest": "kurtosis_narrow"})

# %% [markdown]
# **The counts agree only where there is nothing to count.** One minimum predicted and one found is no test of a glass:
# a linear decoder passes it, and beyond $h_c$ so does everything. Only random decoders have several minima, and fewer
# than a mixture with their slopes would have. Where one layer is wide, third derivatives are sums of many terms and
# tend to a Gaussian law, slowly; that says nothing of how couplings depend on one another, which the number of minima
# knows. Negative raw weights are orders that no $p$-spin of these orders has. What would change our mind: trained
# landscapes with many minima whose number follows the prediction as the field is raised.
#
# ## Is training Langevin?
#
# Stochastic gradient descent moves weights, and codes with them. To first order a step moves a code along $J
# J^\top$ of its own force $-\nabla H_x$, with $J$ the encoder's Jacobian in its weights, and along the forces of
# all others in the batch. Sixty-four inputs are watched. The cosine of their moves with their own forces, less that
# with forces on other inputs, is the **excess**: early, from random weights, and late, by plain steps from the
# trained network. If the noise is thermal, one temperature describes it along and across the force, and grows as
# the learning rate over the batch size.

# %%
weight, rates, batches = weight_of(untrained()) / n_pixels, [0.01, 0.02, 0.04], [20, 50, 125]


def objective(model, batch, generator):
    mean, log_spread = model.encode(batch)
    error = (model.decode(hyperspherical.sphere_sample(mean, log_spread, generator)) - batch).square().mean()
    return error + weight * hyperspherical.hyperspherical_loss(mean, log_spread, **published).total


def moved(start, first, rate, batch, method, of=objective):  # the path from step `first` to twice n_steps
    twin, watch = untrained().double(), training_force.CodeRecorder(x[:64], x_data=x[:200], on_sphere=True)
    twin.load_state_dict(start.state_dict())
    late = lambda model, step: watch(model, step) if step >= first else None
    options = {"method": method, "learning_rate": rate, "batch_size": batch, "n_steps": 2 * n_steps, "seed": seed}
    return training_force.stochastic_descent(twin, x, of, record=late, **options) or watch.path()


# %% tags=["remove-output"]
def facts(of):  # excess cosines, cosine with the data's force, inverse temperatures: along, across, preconditioned
    dz, f, own_f, more = of.delta, of.force[:-1], of.preconditioned[:-1], {"over": "steps", "seed": seed}
    own_by, raw_by, all_by = (langevin_fit.alignment(dz, one, **more) for one in (own_f, f, of.batch[:-1]))
    fit, more = langevin_fit.effective_temperature, more | {"on_sphere": True}
    cold, own_cold = fit(dz, f, **more), fit(dz, f, preconditioned=own_f, **more).inv_temp[0]
    return [own_by.excess[0], raw_by.excess[0], all_by.cosine[0], cold.inv_temp[0], cold.inv_temp_across[0], own_cold]


settings = [(full, n_steps, rate, batch, "sgd") for rate in rates for batch in batches]
settings += [(full, n_steps, 1e-3, 50, "adam"), (untrained().double(), 0, rates[1], batches[1], "sgd")]
training = torch.tensor([facts(moved(*of)) for of in settings], **real)

# %%
def error_alone(model, batch, _):  # of the mean codes: no compressing loss, no noise but that of the batches
    mean = model.encode(batch)[0]
    return (model.decode(mean * (n_latent / mean.square().sum(1, keepdim=True)) ** 0.5) - batch).square().mean()


alone = facts(moved(*settings[-1], of=error_alone))
ln_hot, late = -training[:9, 5].view(3, 3).clamp(min=1.0).log(), training[:9].mean(0)  # inverse: 1 at least
for i, name in enumerate(("cosine", "raw_force", "data_force")):
    own.keep(**{name: late[i], f"{name}_alone": alone[i]})
    own.keep(**{f"{name}_adam": training[9, i], f"{name}_early": training[10, i]})
own.keep(training=training, ln_hot=ln_hot, along_over_across=late[4] / late[3],
         slope_in_ln_rate=sharpening.log_slope(rates, ln_hot.mean(1)),
         slope_in_ln_batch=sharpening.log_slope(batches, ln_hot.mean(0)))

# %% tags=["hide-input"]
fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.6, 5.6))
for at, kind, name, label in ((-0.1, "null", "raw_force", "raw"), (0.1, "attractor", "cosine", "preconditioned")):
    values = torch.stack([runs.values(name + when) for when in ("_early", "", "_adam")], 1)
    points(top, torch.arange(3) + at, values, kind, ls="", label=label + " force")
for i, kind in enumerate(("overlap", "hessian", "collapse")):
    points(bottom, rates, runs.values("ln_hot", 3, 3)[..., i], kind, label=f"batch {batches[i]}")
top.axhline(0.1, color="k", ls=":", lw=1), top.set(ylabel="excess cosine", xlim=(-0.5, 2.5), ymargin=0.3)
top.set_xticks(range(3), ("early SGD", "late SGD", "late Adam")), bottom.set(xscale="log", ylabel="ln temperature")
bottom.minorticks_off(), bottom.set_xticks(rates, rates), bottom.set(xlabel="learning rate", ymargin=0.3)
top.legend(loc="upper left", ncols=2), bottom.legend(loc="upper left", ncols=3)
style.show(fig, target="fig-13-langevin", alt="Excess cosine of moves and forces; temperature over rate and batch.",
           caption="Top: what moves follow of their own force; dotted, what is asked. Bottom: late, units of $H$.")

# %% tags=["hide-input"]
wanted = {"raw_force": ("> 0.1", 0.0), "along_over_across": ("1 ± 0.2", 0.0), "slope_in_ln_rate": ("1 ± 0.2", 0.0),
          "slope_in_ln_batch": ("-1 ± 0.2", 0.0)}
claim("phase-eq19-langevin", *runs.stat("cosine"), "> 0.1", null=0.0, **protocol,
      parts=parts("cosine", "> 0.1", 0.0, **wanted),
      note="cosine of moves and own preconditioned forces, less others'; temperatures: at most 1 in units of H")
texts = {"cosine": "own preconditioned force", "raw_force": "own raw force", "data_force": "all forces, whole cosine"}
rows = {f"{text}, {name}": of + when for of, text in texts.items()
        for name, when in {"error alone": "_alone", "early": "_early", "late": "", "Adam": "_adam"}.items()}
beside("moves follow", rows | {"*power of the rate in the temperature*": "slope_in_ln_rate",
       "*power of the batch in the temperature*": "slope_in_ln_batch"}, digits=3)

# %% [markdown]
# **Codes do not move along their own force.** To first order a plain step on the error alone moves codes along the
# forces of the whole batch through the shared weights, and the table says how well they keep to this sum and how
# little to the one term in it that is their own. The compressing loss acts on the batch as a whole, and no energy of
# one input holds it. Moves that follow no force have no temperature: the fit then returns the largest that is allowed,
# and powers of it say nothing. What would change our mind: moves that follow their own force more than a tenth of
# their length, with one temperature along and across it that grows as the step and falls as the batch.
#
# ## Check

# %% tags=["hide-output"]
assert max(away) <= 4.5  # of 15 means with standard errors; chance passes 4.5 in some seed of ten thousand
assert (of_linear.n_minima[0] == 2).all() and (of_linear.n_minima <= 2).all()
assert furthest.max() <= 1e-6  # ends have a gradient of 1e-10 of its scale, the softest mode is above 1e-4 of it
assert max(apart_on) < 1e-12 and pure_four.ratio < 1
for start, stop, z, _ in down.values():
    assert (stop <= start * (1 + 1e-12)).all() and (z.square().sum(-1) / n_latent - 1).abs().max() <= 1e-9
assert abs(lower(full)[0] - lower_codes) == 0 and all(of.isfinite().all() for of in (begin, end, training))
record(**own.numbers)

# %% [markdown]
# ## Limits
#
# - Digits of 8 × 8 pixels and MNIST, perceptrons of smooth activation, one number of latents: nothing here is the
#   source's own data or network. Kinks of ReLU decoders have minima of their own and no third derivative.
# - Expectations were fixed before a pilot of six seeds, which enter no number here.
# - Minima are counted by descents, a lower bound, on the landscapes of a few inputs. Ends of descents are one where
#   $q > 0.99$.
# - Chains at a low temperature may not have forgotten where they started; the two halves say by how much. They
#   started at random points in a first run, which on MNIST was not forgotten. The temperature is a choice: that of a
#   posterior under a uniform prior.
# - A mixture is inferred from points of one landscape each. That any function on the sphere has one proves nothing.
# - All forces are those of 200 inputs, of the error alone. Of a network trained by Adam, the temperatures of plain
#   descent say nothing.
#
# ## Exercises
#
# 1. The mean overlap of independent directions is $\lvert\mathbb{E}s\rvert^2$. Why can two posterior draws of one
#    input have a larger one than pairs, and replicas of its energy another again?
# 2. Why does a pure four-spin pass the ratio test of Taylor coefficients, and which pure $q$-spins fail it on the
#    orders 3 to 6?
# 3. One energy has a single minimum. What are the three shares of {numref}`fig-13-basins`, whatever the codes?
#
# ```{dropdown} Solutions
# 1. Draws at one input share its mean, pairs share the mean over all inputs alone. Replicas follow the energy and not
#    the encoder, whose posterior is a Gaussian pushed to the sphere.
# 2. Its rms coefficients are the roots of $\binom{4}{p}$, which fall from $p = 2$ on: from $p = 3$ to $4$ by one
#    half. The mean ratio from 3 to 6 is $\left(\binom{q}{6}/\binom{q}{3}\right)^{1/6}$, and
#    $\binom{q}{6} > \binom{q}{3}$ from $q = 10$ on: those fail; at $q = 9$ it is 1.
# 3. All three are 1, if every descent reaches its tolerance.
# ```
#
# ## Sources
#
# The claims judged here: {cite}`phase`. The losses: {cite}`ijcnn`. Counting minima: {cite}`auffinger,belius`. The
# spherical model: {cite}`crisanti_sommers`; ultrametricity: {cite}`rammal`; directions in a field:
# {cite}`mardia_jupp`.
