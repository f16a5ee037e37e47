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
# (ch-00)=
# # Five instruments read one spectrum
#
# **Question.** Collapse thresholds, overlaps, hyperspherical angles, attractor dynamics and the Hessian metric come from five
# literatures. Do they measure five things?
#
# **Answer.** In a linear Gaussian autoencoder they measure one: the eigenvalues of the data, seen through the price of
# information. Every instrument below is pointed at the *same* optimum, found from random weights without a look at the
# principal components, and returns the same number for each mode. In a nonlinear network they need not agree, and the
# last part measures by how much they differ.
#
# **Takes** half a minute on one thread of a laptop and about a gigabyte of memory.

# %%
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from latentlib import angles, claim, collapse, datasets, fisher, interval, models
from latentlib import evidence, overlap, record, sphere, style, sweep, train, vector_field

# %% tags=["parameters"]
dataset: str = "breast_cancer"  # linear part: a name of datasets.catalogue() or a file
n_latent: int = 32  # latents of the linear VAE, 1 … 512; superfluous ones must collapse
n_prices: int = 96  # information prices of the scan, log-spaced, 10 … 400
price_min: float = 1e-6  # lowest price, share of the total variance, 1e-9 … 0.1
price_shown: float = 0.01  # price of the comparison, below the largest PCA share
n_points: int = 2000  # data points in overlaps and Jacobians, at most, 50 … 20000
mlp_dataset: str = "digits"  # nonlinear part: a name or a file
mlp_price: float = 0.02  # its price, share of the total variance, 1e-3 … 0.2
mlp_n_latent: int = 8  # latents of the nonlinear VAE, 1 … 64
mlp_n_steps: int = 2500  # Adam steps of one training, 100 … 100000
n_repetitions: int = 4  # independent trainings of the nonlinear VAE, 3 … 20
sweep_table: str = "00_one_spectrum"  # committed sweep to draw; "" for none
seed: int = 0  # of every random number in this chapter

# %% [markdown]
# ## A spectrum that is known
#
# A linear VAE with a Gaussian decoder compresses centred data whose covariance has eigenvalues
# $\lambda_1 \ge \lambda_2 \ge \dots$ and total variance $\sigma_{tot}^2 = \sum_k \lambda_k$. Its loss is, up to a positive factor,
#
# $$
# \mathcal{L} \;\propto\; \hat D + 2\,\hat T R, \qquad \hat T = \beta\,\sigma_{dec}^2/\sigma_{tot}^2 ,
# $$ (eq-loss)
#
# with the distortion $\hat D$ as a share of the total variance, the rate $R$ in nats, and one control parameter, the
# **information price** $\hat T$ {cite}`pruning`. The optimum is probabilistic PCA {cite}`tipping_bishop`, and
# every mode obeys one law,
#
# $$
# m_k = \max\left(0,\; 1 - \frac{\hat T}{U_k}\right), \qquad U_k = \lambda_k/\sigma_{tot}^2 ,
# $$ (eq-law)
#
# where the **signal fraction** $m_k = \langle\mu_k^2\rangle/(\langle\mu_k^2\rangle + \langle\sigma_k^2\rangle)$ is the order
# parameter of posterior collapse and $U_k$ is the PCA share of the mode. The shares are known, so every answer below is known
# in advance.

# %%
style.use()
pad = torch.nn.functional.pad
x = datasets.standardize(datasets.load(dataset).matrix())
covariance = datasets.covariance(x)
# The known answer, which the solver never sees:
pca_share = torch.linalg.eigvalsh(covariance).flip(0) / covariance.trace()
n_modes = min(int((pca_share > price_min).sum()), n_latent)
pca_share = pca_share[:n_modes]
display(Markdown(
    f"`{dataset}`: {len(x)} samples of {x.shape[1]} standardized variables, {n_modes} modes above the lowest "
    f"price, with PCA shares from {pca_share[0]:.3f} down to {pca_share[-1]:.1e}."
))

# %% [markdown]
# ## Collapse: each mode is given up at its own price
#
# The solver minimizes {eq}`eq-loss` over encoder, decoder and posterior variances from random weights, for all prices at once. It
# knows the loss, its gradient and a metric; no eigenvector enters.

# %%
prices = torch.logspace(torch.tensor(price_min).log10(), 0, n_prices, dtype=torch.float64)
scan = collapse.equilibrium(covariance, prices, n_latent, seed=seed)
law = pad((1 - prices[:, None] / pca_share).clamp_min(0), (0, n_latent - n_modes))
threshold, threshold_se = collapse.fit_threshold(prices, scan.signal_fraction)
fitted = threshold[:n_modes].isfinite()  # a mode needs two active prices
law_error = (scan.signal_fraction - law).abs().max().item()
threshold_error = (threshold[:n_modes] / pca_share - 1)[fitted].abs().max().item()
gradient = scan.grad_norm.max().item()
record(law_error=law_error, threshold_error=threshold_error, gradient=gradient)

# %% tags=["hide-input"]
fine = torch.logspace(prices[0].log10(), 0, 2000, dtype=torch.float64)[:, None]
branches = torch.where(fine < pca_share, 1 - fine / pca_share, torch.nan)
fig, axis = plt.subplots(figsize=(5.6, 4.0))
dots = axis.semilogx(prices, scan.signal_fraction[:, :n_modes], "o", ms=2.5, color=style.COLOR["collapse"])
lines = axis.semilogx(fine, branches, color=style.COLOR["pca"], lw=0.6)
axis.set(xlabel=r"information price $\hat T$ (share of the total variance)", ylabel="signal fraction $m_k$")
labels = "solver, from random weights", r"$1 - \hat T/U_k$, from the PCA shares"
fig.legend([dots[0], lines[0]], labels, loc="outside upper center", ncols=2)
alt = f"Signal fraction of {n_modes} modes against price: each falls to zero at its own price, on the exact law."
caption = "The collapse cascade: every mode of the linear VAE against price, with the exact law overlaid."
style.show(fig, alt=alt, caption=caption, target="fig-cascade")

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
display(Markdown(
    f"Over {n_prices} prices and {n_latent} latents no signal fraction departs from {{eq}}`eq-law` by more than "
    f"{max(law_error, 1e-8):.0e}; the thresholds fitted to the {int(fitted.sum())} modes with two active prices or "
    f"more are their PCA shares to {max(threshold_error, 1e-8):.0e}. Modes are given up one by one, each at its share."
))

# %% [markdown]
# ## Five readings return the same number, mode by mode
#
# Now one price. The trained encoder $E$ and decoder $D$ are handed to each instrument, which knows nothing of the others:
#
# | instrument | measures | reads $m_k$ as |
# |---|---|---|
# | collapse | posterior means and variances of the data | $\langle\mu_k^2\rangle/(\langle\mu_k^2\rangle + \langle\sigma_k^2\rangle)$ |
# | attractor | Jacobian of $f = E\circ D$, by automatic differentiation | its eigenvalues |
# | Hessian | pull-back metric $g = J_D^\top J_D/T$ at the codes | $g_k/(1+g_k)$ |
# | rate | divergence of the posterior from the prior | $1 - e^{-2\,\mathrm{KL}_k}$ |
# | angles | $E\cos^2\phi_k$ of Gaussian codes, by an exact integral | inverted from the last angle to the first; scale from $\langle\lvert\mu\rvert^2\rangle$ |

# %%
shown = collapse.equilibrium(covariance, [price_shown], n_latent, seed=seed)
encoder, decoder, log_var = shown.encoder[0], shown.decoder[0], shown.log_var[0]
codes = x @ encoder.T
m = collapse.signal_fraction(codes, log_var.expand_as(codes))
n_active = int((m > 1e-6).sum())
assert n_active, f"want price_shown below the largest PCA share {pca_share[0]:.3g}, got {price_shown}"
shuffled = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
some = codes[shuffled[:n_points]]

# %%
f = vector_field.latent_map(lambda data: data @ encoder.T, lambda z: z @ decoder.T)
temperature = price_shown * covariance.trace()
g = fisher.metric_spectrum(fisher.pullback_metric(lambda z: z @ decoder.T, some[:20], temperature))
cos2 = angles.angle_spectrum(pad(m[:n_active], (0, 1)))  # with a collapsed axis, so that n = 1 has an angle
ratios = angles.spectrum_from_angles(cos2)
reading = {
    "collapse": m,
    "attractor": vector_field.jacobian_spectrum(f, some[:20]).real.mean(0),
    "hessian": (g / (1 + g)).mean(0),
    "rate": -torch.expm1(-2 * shown.rate[0]),
    "angles": ratios / ratios.sum() * codes.square().sum(1).mean(),
}

# %%
reading = {name: values[:n_active] for name, values in reading.items()}
expected = 1 - price_shown / pca_share[:n_active]
disagreement = {name: (values - expected).abs().max().item() for name, values in reading.items()}
record(n_active=n_active, **{f"disagreement_{name}": error for name, error in disagreement.items()})

# %% [markdown]
# A signal fraction at a known price is a threshold in disguise, $\hat T/(1 - m_k)$, so all instruments can be drawn against
# the PCA share of their mode.

# %% tags=["hide-input"]
implied = {name: price_shown / (1 - m_k) for name, m_k in reading.items()}
fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.6, 6.0), sharex=True, height_ratios=(3, 2))
top.loglog(pca_share, pca_share, color=style.COLOR["pca"], lw=0.7, label="PCA share itself")
for size, (name, read) in enumerate([("collapse", threshold[:n_modes]), *implied.items()]):
    share, marker = pca_share[: len(read)], style.MARKER[name] if size else "_"
    look = {"color": style.COLOR[name], "mfc": "none", "label": name if size else "fitted threshold"}
    top.loglog(share, read, marker, ms=13 - 2 * size, **look)
    bottom.loglog(share, (read / share - 1).abs() + 1e-17, marker, ms=6, **look)
top.set(ylabel="threshold read (share of variance)")
bottom.set(ylabel="relative departure", ylim=(1e-17, 1e-6), xlabel="PCA share $U_k$")
fig.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=3)
caption = "One spectrum: the threshold each instrument reads against the PCA share, and its relative departure from it."
style.show(fig, alt="Six readings on the diagonal against the PCA share.", caption=caption, target="fig-agreement")

# %% [markdown]
# The angular reading above inverts the exact integral at the measured $m_k$. Does the integral itself hold? Gaussian codes with
# that spectrum, drawn at random, must average to it; the codes of the data need not.

# %%
generator = torch.Generator().manual_seed(seed)
gaussian = torch.randn(20 * n_points, n_latent, generator=generator, dtype=torch.float64) * m.sqrt()


def worst_angle(z):
    squares = angles.cos_angles(pad(z[:, :n_active], (0, 1)))[:, : max(n_active - 1, 1)].square()
    excess = squares.mean(0) - cos2[: max(n_active - 1, 1)]
    return (excess.abs() / (squares.std(0) / len(z) ** 0.5).clamp_min(1e-12)).max().item()


angle_excess = {"gaussian": worst_angle(gaussian), "data": worst_angle(codes)}
record(**{f"angle_excess_{name}": value for name, value in angle_excess.items()})

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
display(Markdown(
    f"At $\\hat T = {price_shown:g}$ all five readings of the {n_active} active modes agree with {{eq}}`eq-law` to "
    f"{max(1e-8, *disagreement.values()):.0e}. Of the sampled Gaussian codes no angle departs from the integral by more "
    f"than {angle_excess['gaussian']:.1f} standard errors; of the codes of `{dataset}` one does by "
    f"{angle_excess['data']:.1f}. Those are uncorrelated too; what differs is their shape."
))

# %% [markdown]
# ## Overlaps add the spectrum up
#
# The overlap $q = \cos(\mu, \mu')$ of two codes knows the mean direction and the second moment of the directions, nothing else.
# For centred, uncorrelated codes the unnormalized overlap $R = \mu\cdot\mu'/\langle|\mu|^2\rangle$ has
#
# $$
# \chi_R = n\,\mathrm{Var}\,R = n\,\frac{\sum_k m_k^2}{(\sum_k m_k)^2} = \frac{n}{\mathrm{PR}} ,
# $$ (eq-chi)
#
# the inverse participation ratio of the same $m_k$; for Gaussian codes $\chi = n\,\mathrm{Var}\,q$ follows from the angular
# integral. So the susceptibility is read three ways: from all pairs, from sums over points without pairs, and from the
# spectrum. Beside the data stands their null: Gaussian codes with the same spectrum.

# %%
sets = {"data codes": some, "Gaussian codes": gaussian}
moments = {name: (overlap.overlap_moments(z), overlap.raw_overlap_moments(z)) for name, z in sets.items()}
chi_pairs = overlap.overlap_moments(some, by_pairs=True).chi
chi_spectrum = angles.angular_susceptibility(m).item() if n_latent > 1 else 1.0
chi_r_spectrum = (n_latent * m.square().sum() / m.sum() ** 2).item()
q_data, q_gauss = (q for q, _ in moments.values())
pairs_error = abs(chi_pairs / q_data.chi - 1)
record(chi=q_data.chi, chi_se=q_data.chi_se, chi_spectrum=chi_spectrum, chi_r_spectrum=chi_r_spectrum)

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
display(Markdown("\n".join([
    "| codes | $\\chi$ from overlaps | $\\chi_R$ from overlaps |\n|---|---|---|",
    *(f"| {name} | {q.chi:.3f} ± {q.chi_se:.3f} | {r.chi:.3f} ± {r.chi_se:.3f} |" for name, (q, r) in moments.items()),
    f"| from the spectrum | {chi_spectrum:.3f} | {chi_r_spectrum:.3f} |\n| uniform sphere (null) | 1 | 1 |\n",
    f"All pairs and the pair-free sums give the same $\\chi$ to {max(pairs_error, 1e-9):.0e}. The Gaussian codes return",
    f"the angular integral within {abs(q_gauss.chi - chi_spectrum) / q_gauss.chi_se:.1f} standard errors. The codes of",
    f"`{dataset}` lie {abs(q_data.chi - chi_spectrum) / q_data.chi_se:.1f} standard errors away from it, at",
    f"{q_data.chi:.2f} against {chi_spectrum:.2f}: at equal $m_k$ a difference in $\\chi$ is one of shape, not of spectrum.",
])))


# %% tags=["hide-input"]
def draw_modes(axis, price, fraction):
    rank, exact = range(1, n_modes + 1), (1 - price / pca_share).clamp_min(0)
    axis.bar(rank, fraction[:n_modes], color=style.COLOR["collapse"], label="signal fraction $m_k$")
    axis.plot(rank, exact, "x", color=style.COLOR["pca"], label=r"$1 - \hat T/U_k$")
    axis.set(xlabel="mode $k$", ylabel="signal fraction $m_k$", ylim=(0, 1.05))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def draw_overlaps(axis, z, color, label):
    histogram = overlap.overlap_histogram(z, n_bins=60)
    axis.stairs(histogram.density, histogram.edges, color=color, label=label)
    axis.set(xlabel="overlap $q$", ylabel="density $P(q)$", yscale="log", ylim=(1e-3, 100))


# %% tags=["hide-input"]
def draw_null(axis):
    edges = torch.linspace(-1, 1, 61, dtype=torch.float64)
    density = sphere.uniform_sphere_probability(edges, max(n_latent, 2)) / edges.diff()
    axis.stairs(density, edges, color=style.COLOR["null"], ls=":", label="uniform sphere")


def draw_null_and_codes(axis, fraction, z):
    normal = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=z.dtype)
    draw_null(axis)
    draw_overlaps(axis, normal * fraction.sqrt(), style.COLOR["pca"], "Gaussian codes, same $m_k$")
    draw_overlaps(axis, z, style.COLOR["overlap"], "data codes")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1)


# %% tags=["hide-input"]
def draw(price):
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.6, 5.2))
    optimum = collapse.equilibrium(covariance, [price], n_latent, seed=seed)
    draw_modes(top, price, optimum.signal_fraction[0])
    draw_null_and_codes(bottom, optimum.signal_fraction[0], x[:n_points] @ optimum.encoder[0].T)
    return fig


frame_prices = torch.logspace(-4, (0.9 * pca_share[0]).log10(), 14).tolist()
style.slider(
    map(draw, frame_prices), [f"{price:.1e}" for price in frame_prices], "price", "of the variance",
    target="fig-overlaps", alt="Bars of the signal fraction of every mode on the exact law, and P(q) against two nulls.",
    caption="Signal fractions and overlap distribution as the price rises. Few active modes spread $P(q)$ to its ends.",
)

# %% [markdown]
# The same picture, computed again at any price while the chapter runs in Jupyter:

# %% tags=["live"]
highest = round((0.9 * pca_share[0]).log10().item(), 2)
style.live(
    lambda log10_price: draw(10**log10_price), log10_price=(-4.0, highest, 0.05),
    alt="Signal fractions and overlap distribution at the chosen price.",
)

# %% [markdown]
# ### Two draws of one input: the Edwards–Anderson reading
#
# The mean code vanishes on average although its square does not, as the local magnetization of a spin glass does. Two posterior
# draws $z, z'$ of *one* input play the part of replicas, and their overlap $z\cdot z'/n$ averages to $\frac1n\sum_k m_k$
# {cite}`pruning,edwards_anderson`.

# %%
def draw_code():
    return codes + (log_var / 2).exp() * torch.randn(codes.shape, generator=generator, dtype=codes.dtype)


within = [overlap.within_overlap(draw_code(), draw_code()).q_mean for _ in range(100)]
ratio, low, high = interval.mean_interval(torch.tensor(within) / m.mean())
claim(
    "pruning-III.1-ea", ratio, (low, high), "[0.98, 1.02]", null=0.0, own_protocol=True,
    parts={"mean code vanishes": evidence.Part(codes.mean(0).abs().max(), None, "identity 0 ± 1e-10")},
    data=f"{dataset}, linear VAE at equilibrium, price {price_shown:g}",
    sizes={"n_samples": len(x), "n_latent": n_latent}, repetitions=len(within),
    interval_method="Student, over independent pairs of posterior draws of all inputs",
    note="within-input overlap divided by the mean signal fraction; null: a collapsed posterior",
)

# %% [markdown]
# ## Only the product of weight and decoder variance matters
#
# Everything above used one control parameter. That rests on the claim that the raw loss, with its two knobs $\beta$ and
# $\sigma_{dec}^2$, is a positive factor times {eq}`eq-loss`. Then gradients at equal products are parallel everywhere, so the
# minimizers are the same; an optimizer with a fixed step length may still notice the factor.

# %%
total_var, batch = covariance.trace().item(), x[shuffled[:n_points]]


def raw_loss(model, kl_weight, decoder_var, draw=0):
    x_hat, mu, log_var = model(batch, torch.Generator().manual_seed(seed + draw))
    return models.elbo_loss(batch, x_hat, mu, log_var, kl_weight, decoder_var)


def identity_error(member, kl_weight, decoder_var):
    model = models.MLPVAE(x.shape[1], 4, seed=seed + member).double()
    terms, cost = raw_loss(model, kl_weight, decoder_var), collapse.price(kl_weight, decoder_var, total_var)
    reduced = terms.distortion_sum / total_var + 2 * cost * terms.rate.sum()
    return (total_var / (2 * decoder_var) * reduced / terms.loss - 1).abs().item()


# %%
def gradient_at(member, kl_weight):
    model = models.MLPVAE(x.shape[1], 4, seed=seed + member).double()
    loss = raw_loss(model, kl_weight, price_shown * total_var / kl_weight).loss
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


def descend(kind, member, kl_weight):
    model = models.LinearVAE(x.shape[1], 4, seed=seed + member).double()
    optimizer, decoder_var = kind(model.parameters(), lr=1e-4), price_shown * total_var / kl_weight
    for step in range(60):
        raw_loss(model, kl_weight, decoder_var, step).loss.backward(), optimizer.step(), optimizer.zero_grad()
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


# %%
knobs, members = torch.logspace(-2, 2, 20).tolist(), range(3)
loss_error = max(identity_error(i, knobs[i], knobs[7 * i % 20]) for i in range(20))
cosine = [torch.cosine_similarity(gradient_at(i, 1.0), gradient_at(i, 10.0), dim=0) for i in members]
gap = {
    kind: torch.stack([(descend(kind, i, 3.0) - descend(kind, i, 1.0)).norm() for i in members])
    for kind in (torch.optim.SGD, torch.optim.Adam)
}
sgd, *sgd_interval = interval.mean_interval(gap[torch.optim.SGD])
same_direction = evidence.Part((1 - torch.stack(cosine)).abs().max(), None, "identity 0 ± 1e-12")

# %% tags=["hide-input"]
claim(
    "pruning-eq8-price", loss_error, None, "identity 0 ± 1e-14", own_protocol=True,
    parts={"gradients at equal price are parallel": same_direction,
           "training by SGD differs": evidence.Part(sgd, tuple(sgd_interval), "> 0")},
    data=f"{dataset}, random MLP and linear VAEs", sizes={"n_samples": len(batch), "n_latent": 4, "n_steps": 60},
    repetitions=len(members), interval_method="identity at 20 random networks; SGD: Student over initial weights",
    note="distance of weights trained under the loss and under three times the loss; "
         f"under Adam it is {gap[torch.optim.Adam].max():.0e}",
)

# %% [markdown]
# ## Rate and entropy
#
# The rate is a Kullback–Leibler divergence, and it is tempting to read it as an entropy. That is right for a uniform reference
# only: $\mathrm{KL}(p\,\|\,u) = \ln K - H(p)$. For any other reference the difference depends on $p$, and under a change of
# variables the entropy moves while the divergence stays.

# %%
p = torch.randn(10, 50, 8, generator=generator, dtype=torch.float64).softmax(-1)
entropy = -(p * p.log()).sum(-1)
log_8 = 3 * torch.tensor(2.0, dtype=torch.float64).log()
uniform_error = ((p * (8 * p).log()).sum(-1) - (log_8 - entropy)).abs().max()
reference = torch.softmax(torch.arange(8.0, dtype=torch.float64) / 4, 0)
spread, *spread_interval = interval.mean_interval(((p * (p / reference).log()).sum(-1) + entropy).std(1))
u, moments_of_p = torch.linspace(-9, 9, 200_001, dtype=torch.float64), torch.tensor([0.3, 0.8], dtype=torch.float64)
y, log_slope = u.sinh(), u.cosh().log()  # the change of variables y = sinh u, and densities of y:
log_p = torch.distributions.Normal(*moments_of_p).log_prob(u) - log_slope
log_r = torch.distributions.Normal(u[0] * 0, 1).log_prob(u) - log_slope
kl_in_y = torch.trapezoid(log_p.exp() * (log_p - log_r), y)
entropy_shift = torch.trapezoid(log_p.exp() * log_slope, y)

# %% tags=["hide-input"]
kl_in_u = models.kl_divergence(moments_of_p[0], 2 * moments_of_p[1].log())
claim(
    "pruning-B-entropy", uniform_error, None, "identity 0 ± 1e-14", own_protocol=True,
    parts={
        "not so for another reference": evidence.Part(spread, tuple(spread_interval), "> 0"),
        "the divergence is coordinate-free": evidence.Part(kl_in_y - kl_in_u, None, "identity 0 ± 1e-6"),
        "the entropy is not": evidence.Part(entropy_shift, (entropy_shift - 1e-6, entropy_shift + 1e-6), "> 0"),
    },
    data="500 random laws on 8 states; N(0.3, 0.8²) against N(0, 1) under y = sinh u", sizes={"n_states": 8},
    repetitions=len(p), interval_method="identity; other reference: Student over 10 groups; entropy: quadrature error",
)

# %% [markdown]
# ## The first open question: do they still agree in a nonlinear network?
#
# A small MLP VAE (SiLU, two hidden layers each way) is trained several times from different weights. The latents of a nonlinear
# model have no common axes, so spectra are compared in falling order. The instruments may now differ: the Jacobian and the
# metric are *local* to each code, the signal fraction and the rate are averages over all of them, and the angular reading
# assumes elliptical codes. The law of {eq}`eq-law` at the PCA shares of the same data is the null.

# %%
images = datasets.load(mlp_dataset).matrix().float()
images = images - images.mean(0)
images = images / images.var(0, correction=0).sum().sqrt()  # total variance 1: the price is β σ_dec²
image_share = torch.linalg.eigvalsh(datasets.covariance(images)).flip(0)
setting = {"decoder_var": mlp_price, "n_steps": mlp_n_steps, "batch_size": 256, "learning_rate": 2e-3}


def trained(repetition):
    model = models.MLPVAE(images.shape[1], mlp_n_latent, seed=seed + repetition)
    train.fit(model, images, kl_weight=1.0, seed=seed + repetition, progress=False, **setting)
    return model.double().eval()


networks = [trained(repetition) for repetition in range(n_repetitions)]


# %%
def angular(mu):
    variance, axes = torch.linalg.eigh(pad(mu, (0, 1)).T.cov(correction=0))  # angles need uncorrelated axes,
    rotated = (pad(mu, (0, 1)) - pad(mu, (0, 1)).mean(0)) @ axes.flip(1)  # largest variance first, two at least
    ratios = angles.spectrum_from_angles(angles.cos_angles(rotated).square().mean(0).round(decimals=12))
    return (ratios / ratios.sum() * variance.sum())[:-1]


def local(model, z):
    f = vector_field.latent_map(model.latent_mean, model.decode)
    g = fisher.metric_spectrum(fisher.pullback_metric(model.decode, z, mlp_price))
    return {"attractor": vector_field.jacobian_spectrum(f, z).abs().mean(0), "hessian": (g / (1 + g)).mean(0)}


# %%
@torch.no_grad()
def read(model):
    mu, log_var = model.encode(images.double())
    found = {"collapse": collapse.signal_fraction(mu, log_var), "angles": angular(mu)}
    found["rate"] = -torch.expm1(-2 * models.kl_divergence(mu, log_var).mean(0))
    return {name: each.sort(descending=True).values for name, each in (found | local(model, mu[:300])).items()}


found = [read(network) for network in networks]
spectra = {name: torch.stack([each[name] for each in found]) for name in found[0]}
linear_law = pad((1 - mlp_price / image_share).clamp_min(0), (0, mlp_n_latent))[:mlp_n_latent]


# %% tags=["hide-input"]
def draw_bars(axis, values, shift, name, **look):
    mean, low, high = interval.mean_interval(values)
    rank, look = torch.arange(1, mlp_n_latent + 1) + 0.13 * shift, look | {"color": style.COLOR[name]}
    axis.errorbar(rank, mean, high - mean, fmt=style.MARKER[name], capsize=2, **look)


fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.6, 6.2), sharex=True)
for shift, (name, values) in enumerate(spectra.items()):
    draw_bars(top, values, shift - 2, name, label=name)
    draw_bars(bottom, values - spectra["collapse"], shift - 2, name)
top.plot(range(1, mlp_n_latent + 1), linear_law, "x", color=style.COLOR["pca"], label="law at PCA shares")
top.set(ylabel="reading of $m_k$")
bottom.set(xlabel="mode $k$, in falling order", ylabel="reading minus $m_k$")
fig.legend(loc="outside upper center", ncols=3)
caption = f"Where the instruments part: an MLP VAE on {mlp_dataset}, 95 % intervals over {n_repetitions} trainings."
alt = "Five readings of the signal fraction of each latent, and their differences, with error bars."
style.show(fig, alt=alt, caption=caption, target="fig-departures")


# %%
def most(values):
    mean, low, high = interval.mean_interval(values - spectra["collapse"])
    k = mean.abs().argmax().item()
    return k + 1, mean[k].item(), low[k].item(), high[k].item(), values.mean(0).sum().item()


rivals = {name: values for name, values in spectra.items() if name != "collapse"}
rivals["pca"] = linear_law.expand(n_repetitions, -1)
parting = {name: most(values) for name, values in rivals.items()}
record(mlp_signal_fraction=spectra["collapse"].mean(0), **{f"parting_{name}": row[1:4] for name, row in parting.items()})

# %% [markdown]
# The Jacobian and the metric are sorted at each code before they are averaged, which spreads their spectra; the sum over modes
# does not depend on the sorting. The overlaps of the same networks stand beside what their spectrum alone would give, and
# `pca` is the law of {eq}`eq-law` at the PCA shares. Is the parting a matter of too little training? The sweep beside this chapter
# ran it on `digits` at several prices and lengths of training; its table is part of the book.

# %%
with torch.no_grad():
    chis = [overlap.overlap_moments(network.latent_mean(images.double())).chi for network in networks]
mlp_chi, chi_low, chi_high = interval.mean_interval(torch.tensor(chis))
mlp_directions = angles.direction_spectrum(pad(spectra["collapse"], (0, 1)))  # a collapsed axis: n = 1 works too
chi_null = (mlp_n_latent * mlp_directions.square().sum(1)).mean()
record(mlp_chi=mlp_chi, mlp_chi_low=chi_low, mlp_chi_high=chi_high, mlp_chi_from_spectrum=chi_null)

parted = [name for name, (_, _, low, high, _) in parting.items() if name != "pca" and (low > 0 or high < 0)]
n_law, n_found = int((linear_law > 0.01).sum()), int((spectra["collapse"].mean(0) > 0.01).sum())

# %% tags=["hide-input"]
tables = [sweep.read_table(sweep_table)] if sweep_table else []
for table in tables:
    fig, axes = plt.subplots(3, 1, figsize=(5.6, 6.4), sharex=True)
    for axis, name in zip(axes, ("attractor", "hessian", "angles")):
        for shade, (n_steps, runs) in zip((0.35, 0.65, 1.0), table.groupby("mlp_n_steps")):
            mean, low, high = torch.tensor(runs[f"parting_{name}"].tolist()).T
            look = {"color": style.COLOR[name], "marker": style.MARKER[name], "alpha": shade, "capsize": 2}
            axis.errorbar(runs.mlp_price, mean, high - mean, label=f"{n_steps} steps", **look)
        axis.set(xscale="log", ylabel=f"{name} minus $m_k$"), axis.axhline(0, color=style.COLOR["collapse"])
    axis.set(xlabel=r"information price $\hat T$"), axes[0].legend(ncols=3)
    caption = "Largest departure from the signal fraction against price, for three lengths of training (committed sweep)."
    style.show(fig, alt="Departures of three readings, with error bars.", caption=caption, target="fig-parting")

# %% tags=["remove-input"]
# NBVAL_CHECK_OUTPUT
swept = [[f"{max(abs(row[0]) for row in runs.parting_attractor):.2f} after {n_steps} steps"
          for n_steps, runs in table.groupby("mlp_n_steps")] for table in tables]
display(Markdown("\n".join([
    "| reading | parts most at mode | by | 95 % interval | sum over modes |\n|---|---|---|---|---|",
    f"| signal fraction | | | | {spectra['collapse'].mean(0).sum():.2f} |",
    *("| {} | {} | {:+.3f} | [{:+.3f}, {:+.3f}] | {:.2f} |".format(name, *row) for name, row in parting.items()),
    f"\nThe linear law has {n_law} of {mlp_n_latent} latents active, the network {n_found}. {len(parted)} of 4 instruments",
    f"part from the signal fraction ({', '.join(parted) or 'none'}). The susceptibility is {mlp_chi:.2f} over trainings,",
    f"[{chi_low:.2f}, {chi_high:.2f}], and {chi_null:.2f} from the spectrum alone.",
    *(f"In the sweep the attractor reading parts by up to {', '.join(words)}." for words in swept), "Why is open.",
])))

# %% [markdown]
# ## Check
#
# The linear part has exact answers, so these may not fail on any data set.

# %%
assert scan.converged.all() and gradient <= 1e-6
assert law_error <= 1e-6  # over all prices and latents, the superfluous ones too
assert threshold_error <= 1e-4
assert max(disagreement.values()) <= 1e-8
assert pairs_error <= 1e-6
assert angle_excess["gaussian"] <= 5  # standard errors over codes, the largest of all angles
# Four jackknife errors, and the part of (E q)² they miss at n = 1: a fourth Hermite polynomial, 163/N² at four sigma.
assert abs(q_gauss.chi - chi_spectrum) <= 4 * q_gauss.chi_se + 163 * n_latent / len(gaussian) ** 2
assert all(values.isfinite().all() for values in spectra.values())

# %% [markdown]
# ## Limits
#
# - The exact part is linear, Gaussian and in sample: the shares are those of the *sample* covariance, and nothing is said about
#   generalization.
# - The angular reading is exact for elliptical codes only; those of the data are not, and their angles say so.
# - Data pairs are not replicas of one Gibbs measure. $P(q)$ across inputs and within one input answer different questions.
# - The nonlinear part is one architecture on one small data set at one price. It opens a question and settles none.
#
# ## Exercises
#
# 1. Show that with posterior-*mean* decoding the utility of mode $k$ is $U_k\,m_k(2 - m_k)$, and measure it.
# 2. Reverse the order of the axes before taking angles. Which numbers change, and which do not?

# %% tags=["hide-cell"]
utility = collapse.utility_spectrum(covariance, encoder, decoder, log_var)[:n_active]
by_mean = pca_share[:n_active] * expected * (2 - expected)
backwards = pad(m[:n_active].flip(0), (0, 1))
forwards_chi, backwards_chi = (angles.angular_susceptibility(axes) for axes in (pad(m[:n_active], (0, 1)), backwards))
display(Markdown(
    f"1. The utilities depart from $U_k m_k (2 - m_k)$ by {(utility - by_mean).abs().max():.0e} at most.\n"
    f"2. $E\\cos^2\\phi_1$ is {cos2[0]:.4f} forwards and {angles.angle_spectrum(backwards)[0]:.4f} backwards. "
    f"$\\chi$ and the $E s_k^2$ belong to the modes, not to their order: $\\chi$ differs by {abs(forwards_chi / backwards_chi - 1):.0e}."
))

# %% [markdown]
# ## Sources
#
# The law, the price and the signal fraction: {cite}`pruning`, after {cite}`tipping_bishop` and {cite}`lucas`. Overlaps as phase
# observables: {cite}`phase`. The attractor map: {cite}`attractors`. The metric: {cite}`hessian`. The
# hyperspherical angles: {cite}`ijcnn`. The identities that join them, and the angular integral, are derived for this book.
