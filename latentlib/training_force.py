"""Is training Langevin? The force −∇H_x on the code of an input, and what the encoder's weights make of it.

Gradient descent moves weights, not codes. To first order in the learning rate the step of a batch moves the code of
input i by learning_rate·⟨K_ij F_j⟩_j, F_j = −∇H_{x_j}(z_j), K_ij = J_i J_jᵀ, J_i = ∂z(x_i)/∂weights: a matrix before
the own force, and forces of other inputs. What the recorded moves show of this is measured by `langevin_fit`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp, vmap

from latentlib import _training
from latentlib._codes import check_codes, row_norm
from latentlib._tangent import onto_sphere, tangent_part
from latentlib._vae import VAE
from latentlib.landscape import latent_energy
from latentlib.vector_field import require_pointwise


def latent_force(
    decoder: Callable, x: Tensor, z: Tensor, *, on_sphere: bool = False, chunk_size: int | None = None, **energy: object
) -> Tensor:
    """Force F_i = −∇H_{x_i}(z_i) on the code of every input in its own latent energy, all inputs in one call.

    The way down its own L(D(z), x) + penalty(z), were the code itself the variable; F·Δz > 0 is a fall of it. On the
    sphere |z|² = n the tangent part P F. Source: phase, Eqs. (4, 16–19).
    Args: decoder, (n_points, n_latent) → (n_points, *x.shape[1:]), in eval mode; x, inputs, (n_inputs, …); z, their
        codes, (n_inputs, n_latent), or for on_sphere any of positive norm, taken along the radius; chunk_size, inputs
        at once (None: all); energy, field, loss and penalty of `landscape.latent_energy`, for one input and one point.
    Returns: (n_inputs, n_latent), like z. Raises: ValueError for bad codes, or as `latent_energy`.
    """
    check_codes(z=z)
    _check_rows(x, z)
    if on_sphere:
        row_norm("z", z)  # refuses a zero row
    template = latent_energy(decoder, x[0], n_latent=z.shape[1], **energy)
    _check_finite(x)

    def slope(x_one: Tensor, z_one: Tensor) -> Tensor:
        return grad(replace(template, x=x_one).energy)(z_one)

    z = onto_sphere(z.detach()) if on_sphere else z.detach()
    with torch.no_grad():  # spares the graph of the decoder's weights
        force = -vmap(slope, chunk_size=chunk_size)(x, z)
    return tangent_part(z, force) if on_sphere else force


def preconditioned_force(
    model: VAE, x: Tensor, force: Tensor, *, on_sphere: bool = False, chunk_size: int | None = 64
) -> Tensor:
    """Force J_i J_iᵀ F_i through the encoder's weights, J_i = ∂z(x_i)/∂weights: where x_i alone would move its code.

    J_i J_iᵀ is the inverse of the metric that the weights give the codes, the pull-back of phase, section B.3. In the
    linear encoder Vx + b it is (|x_i|² + 1)·F_i. A vector-Jacobian product, then a Jacobian-vector product: no matrix.
    Args: model, with encode(x) → (mu, log_var), in eval mode; its decoder and frozen weights stay put; x, (n_inputs,
        *sample_shape), in its dtype; force, (n_inputs, n_latent), of `latent_force`; on_sphere, the code is √n·mu/|mu|,
        else mu; chunk_size, inputs at once: memory of as many gradients of the encoder.
    Returns: like force. Raises: ValueError for shapes that do not fit, forces not finite, or a model that mixes
    samples or draws random numbers.
    """
    code, weights = _code_of_weights(model, on_sphere)
    _check_forces(model, x, force)

    def through_weights(x_one: Tensor, force_one: Tensor) -> Tensor:
        own = partial(code, x_one[None])
        _, pull = vjp(own, weights)
        return jvp(own, (weights,), pull(force_one[None]))[1][0]

    with torch.no_grad():
        return vmap(through_weights, chunk_size=chunk_size)(x, force.detach())


def batch_force(
    model: VAE, x: Tensor, x_batch: Tensor, force_batch: Tensor, *, on_sphere: bool = False
) -> Tensor:  # fmt: skip
    """Force ⟨J_i J_jᵀ F_j⟩_j of a batch on the code of input i, the neural tangent kernel before the forces.

    A step of plain gradient descent on ⟨H_{x_j}(z_j)⟩_j moves the codes by learning_rate times this, up to
    learning_rate². With x_batch the data, its mean over batches. In a variational autoencoder log_var and the noise of
    the codes add forces of their own. One pass of the batch back through the encoder, one of x forward.
    Args: x, the inputs whose codes are wanted; x_batch, force_batch, those that push; the rest as
        `preconditioned_force`. Memory: that of a training step on x_batch.
    Returns: (len(x), n_latent). Raises: ValueError as `preconditioned_force`.
    """
    code, weights = _code_of_weights(model, on_sphere)
    _check_forces(model, x_batch, force_batch)
    with torch.no_grad():
        _, pull = vjp(partial(code, x_batch), weights)
        return jvp(partial(code, x), (weights,), pull(force_batch.detach() / len(x_batch)))[1]


@dataclass(frozen=True)
class CodePath:
    """Codes of fixed inputs through a training, and the forces on them: made by `CodeRecorder.path`.

    step (n_records,); the others (n_records, n_inputs, n_latent), float64 on the CPU. Moves and the forces where they
    start: path.delta against path.force[:-1].
    """

    step: Tensor
    z: Tensor
    force: Tensor  # −∇H_x of `latent_force`
    preconditioned: Tensor  # J Jᵀ of the own force, `preconditioned_force`
    batch: Tensor | None  # of the data, `batch_force`; None without x_data

    @property
    def delta(self) -> Tensor:
        """Moves from record to record, (n_records − 1, n_inputs, n_latent); on the sphere chords of it."""
        return self.z.diff(dim=0)


class CodeRecorder:
    """Recorder of the codes of fixed inputs and the forces on them: a callback (model, step) → {} of a training.

    For `stochastic_descent`, and `compression.fit_compressed(record=…)`, whose steps are epochs. An epoch of shuffled
    data meets every input once, so that the noise of its batches nearly cancels: to fit a temperature record steps.
    Args: x, the inputs, (n_inputs, *sample_shape); x_data, inputs whose `batch_force` is recorded too, or None;
        on_sphere; every, steps between records; energy, as `latent_force`.
    Raises: ValueError for every < 1; called, for what the forces refuse: a model in training mode with BatchNorm, say.
    """

    def __init__(
        self, x: Tensor, *, x_data: Tensor | None = None, on_sphere: bool = False, every: int = 1, **energy: object
    ) -> None:
        _training.check_counts(every=every)
        self.x, self.x_data, self.on_sphere, self.every, self.energy = x, x_data, on_sphere, every, energy
        self._records: list[tuple[Tensor, ...]] = []
        self._steps: list[int] = []

    def __call__(self, model: VAE, step: int) -> dict[str, float]:
        """Records if `every` divides the step. Nothing to add to a history: an empty table."""
        if step % self.every:
            return {}
        z, force = self._code_and_force(model, self.x)
        record = [z, force, preconditioned_force(model, self._like(model, self.x), force, on_sphere=self.on_sphere)]
        if self.x_data is not None:
            force_data = self._code_and_force(model, self.x_data)[1]
            x, x_data = self._like(model, self.x), self._like(model, self.x_data)
            record.append(batch_force(model, x, x_data, force_data, on_sphere=self.on_sphere))
        self._records.append(tuple(part.double().cpu() for part in record))
        self._steps.append(step)
        return {}

    def path(self) -> CodePath:
        """All records so far. Raises: ValueError for fewer than two: there is no move."""
        if len(self._steps) < 2:
            raise ValueError(f"path: want two records or more, got {len(self._steps)}")
        z, force, preconditioned, *batch = (torch.stack(part) for part in zip(*self._records, strict=True))
        return CodePath(torch.tensor(self._steps), z, force, preconditioned, *(batch or [None]))

    def _code_and_force(self, model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self._like(model, x)
        with torch.no_grad():
            mu = model.encode(x)[0]
        z = onto_sphere(mu) if self.on_sphere else mu
        return z, latent_force(model.decode, x, z, on_sphere=self.on_sphere, **self.energy)

    @staticmethod
    def _like(model: VAE, x: Tensor) -> Tensor:
        weight = next(model.parameters())
        return x.to(weight.device, weight.dtype)


def stochastic_descent(
    model: VAE, x: Tensor, objective: Callable[[VAE, Tensor, torch.Generator], Tensor], *,
    method: str = "sgd", learning_rate: float, batch_size: int, n_steps: int, seed: int,
    record: Callable[[VAE, int], object] | None = None,
) -> None:  # fmt: skip
    """Plain gradient descent, weights ← weights − learning_rate·∇objective on batches drawn with replacement, recorded.

    The case in which moves of codes can be a Langevin step: the noise of the batches is independent from step to step.
    `adam` divides each gradient by its running root mean square: its drift is along no J Jᵀ F, its steps have the size
    of the learning rate however small the forces, so a temperature fitted to them describes no Gibbs law.
    Changes `model` in place, in the mode it is in.
    Args: x (n, *sample_shape), floating, taken to its dtype and device; objective, (model, batch, generator) → scalar,
        its noise from that generator; method, "sgd" or "adam"; learning_rate > 0; batch_size, n_steps ≥ 1; record,
        called as record(model, step) before every step and after the last.
    Raises: ValueError for an argument out of range; FloatingPointError, naming the step, for a loss not finite.
    """
    _training.check_counts(batch_size=batch_size, n_steps=n_steps)
    _training.check_positive(learning_rate=learning_rate)
    if method not in ("sgd", "adam"):
        raise ValueError(f"method: want 'sgd' or 'adam', got {method!r}")
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    x = _training.floating_data("x", x, weights[0].device, weights[0].dtype)
    descend = _training.Adam(weights).descend if method == "adam" else partial(_plain_step, weights)
    generator = torch.Generator(x.device).manual_seed(seed)
    for step in range(n_steps):
        if record is not None:
            record(model, step)
        rows = torch.randint(len(x), (batch_size,), generator=generator, device=x.device)
        loss = objective(model, x[rows], generator)
        if not loss.isfinite():
            raise FloatingPointError(f"stochastic_descent: want a finite loss, got {loss.item()} at step {step}")
        descend(torch.autograd.grad(loss, weights, materialize_grads=True), learning_rate)
    if record is not None:
        record(model, n_steps)


@torch.no_grad()
def _plain_step(weights: list[Tensor], gradients: tuple[Tensor, ...], learning_rate: float) -> None:
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.sub_(learning_rate * gradient)


class _CodeOf(nn.Module):
    """The encoder as a module of one call, which `functional_call` can give other weights."""

    def __init__(self, model: VAE, on_sphere: bool) -> None:
        super().__init__()
        self.model, self.on_sphere = model, on_sphere

    def forward(self, x: Tensor) -> Tensor:
        mu = self.model.encode(x)[0]
        return onto_sphere(mu) if self.on_sphere else mu


def _code_of_weights(model: VAE, on_sphere: bool) -> tuple[Callable[[Tensor, dict], Tensor], dict[str, Tensor]]:
    """The code as a function of x and weights, and the weights that training moves: all but the decoder's."""
    require_pointwise(model)
    view = _CodeOf(model, on_sphere)
    decoder = {id(weight) for weight in model.decoder.parameters()}
    encoder = ((name, weight) for name, weight in view.named_parameters() if id(weight) not in decoder)
    free = {name: weight.detach() for name, weight in encoder if weight.requires_grad}
    return lambda x, weights: functional_call(view, weights, (x,)), free


def _check_forces(model: VAE, x: Tensor, force: Tensor) -> None:
    check_codes(force=force)
    if force.shape[1] != model.n_latent:
        raise ValueError(f"force: want (n_inputs, n_latent = {model.n_latent}), got {tuple(force.shape)}")
    _check_rows(x, force)
    _check_finite(x)


def _check_rows(x: Tensor, z: Tensor) -> None:
    if not isinstance(x, Tensor) or x.ndim == 0 or len(x) != len(z):
        found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x: want as many inputs as codes, ({len(z)}, ...), got {found}")


def _check_finite(x: Tensor) -> None:
    if not x.isfinite().all():
        raise ValueError(f"x: want finite inputs, got {x[~x.isfinite()][0].item()}")
