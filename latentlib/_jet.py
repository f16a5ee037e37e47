"""Taylor mode: a tensor that carries its power series in t through a computation, in order² instead of 2^order steps.

Operations come in at the level of aten: linear ones act on every term, products are Cauchy products, smooth functions
those of _power_series, and what is none of these is decomposed by torch into what is. Kinks are refused: across one, a
power series says nothing.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._pytree import tree_leaves, tree_map

from latentlib import _power_series as series
from latentlib._power_series import Series

VIEWS = set(
    "view permute transpose t expand unsqueeze squeeze slice select diagonal unfold split split_with_sizes unbind "
    "detach alias".split()
)
LINEAR = VIEWS | set(
    "_unsafe_view index index_select gather flip roll sum mean cumsum neg clone _to_copy constant_pad_nd avg_pool2d "
    "_adaptive_avg_pool2d upsample_nearest1d upsample_nearest2d upsample_bilinear2d pixel_shuffle".split()
)
AFFINE = {"add", "sub", "rsub", "cat", "stack"}
CONSTANT = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}
KINKED = set(
    "relu leaky_relu prelu _prelu_kernel rrelu rrelu_with_noise relu6 hardtanh hardsigmoid hardswish hardshrink "
    "softshrink threshold elu selu celu max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices "
    "adaptive_max_pool2d abs sign clamp clamp_min clamp_max maximum minimum max min amax amin where floor ceil round "
    "fmod remainder sort topk smooth_l1_loss huber_loss eq ne lt le gt ge".split()
)


class Kink(ValueError):
    """An operation that is not smooth everywhere: its name."""


class Jet(Tensor):
    """A power series Σ_k terms[k] t^k, which shows the shape of terms[0].

    Raises: Kink from operations that are not smooth, NotImplementedError from those without a known series.
    """

    terms: Series
    shared: bool  # is a view or has one, which would not follow a change in place

    @staticmethod
    def __new__(cls, terms: Series) -> "Jet":
        value = terms[0]
        options = {"strides": value.stride(), "dtype": value.dtype, "device": value.device}
        return Tensor._make_wrapper_subclass(cls, value.shape, **options)

    def __init__(self, terms: Series) -> None:
        self.terms = terms
        self.shared = False

    def __repr__(self) -> str:
        return f"Jet({self.terms})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name.removesuffix("_") in KINKED:
            raise Kink(name)
        if name.endswith("_"):
            return _in_place(func, args, kwargs)
        if name in RULES:
            return RULES[name](func, *args, **kwargs)
        if name in LINEAR:
            return _linear(func, args, kwargs)
        if name in AFFINE:
            return _affine(func, args, kwargs)
        if name in CONSTANT:
            return func(*_at(args, 0), **kwargs)
        result = decomposition_table.get(func, func.decompose)(*args, **kwargs)
        if result is NotImplemented:
            raise NotImplementedError(f"no power series is known for {name}")
        return result


def line(base: Tensor, direction: Tensor, order: int) -> Jet:
    """The series base + t·direction, of equal shapes."""
    return Jet([base, direction, *[None] * (order - 1)])


def _in_place(func: Callable, args: tuple, kwargs: dict) -> Jet:
    name = func.overloadpacket.__name__
    target = args[0]
    if not isinstance(target, Jet) or target.shared:
        raise NotImplementedError(f"no power series for {name} on a plain tensor or a view: write it out of place")
    target.terms = getattr(torch.ops.aten, name[:-1])(*args, **kwargs).terms
    return target


def _is_jet(leaf: object) -> bool:
    return isinstance(leaf, Jet)


def _jets(*arguments) -> list[Jet]:
    return [leaf for leaf in tree_leaves(arguments, is_leaf=_is_jet) if isinstance(leaf, Jet)]


def _at(arguments: tuple, k: int) -> tuple:
    """The arguments with every Jet replaced by its term k, a zero one by zeros."""

    def term(leaf):
        if not isinstance(leaf, Jet):
            return leaf
        return torch.zeros_like(leaf.terms[0]) if leaf.terms[k] is None else leaf.terms[k]

    return tree_map(term, arguments, is_leaf=_is_jet)


def _linear(func: Callable, args: tuple, kwargs: dict, args_above: tuple | None = None) -> Jet | list[Jet]:
    """func term by term, with other arguments above term 0 where they are given; a list where func returns one."""
    name = func.overloadpacket.__name__
    if name in ("view", "_unsafe_view"):
        func = torch.ops.aten.reshape  # terms have strides of their own
    jets = _jets(args)
    results = [func(*_at(args, 0), **kwargs)]
    for k in range(1, len(jets[0].terms)):
        zero = all(jet.terms[k] is None for jet in jets)
        results.append(None if zero else func(*_at(args_above or args, k), **kwargs))
    several = not isinstance(results[0], Tensor)
    parts = [[None] * len(results[0]) if result is None else result for result in results] if several else [results]
    found = [Jet(list(terms)) for terms in (zip(*parts, strict=True) if several else parts)]
    if name in VIEWS:
        for jet in (*jets, *found):
            jet.shared = True
    return found if several else found[0]


def _affine(func: Callable, args: tuple, kwargs: dict) -> Jet:
    """Sums and concatenations: what is no Jet counts in term 0 only."""

    def above(summand):
        if isinstance(summand, Jet):
            return summand
        return torch.zeros_like(summand) if isinstance(summand, Tensor) else 0

    if isinstance(args[0], list | tuple):
        return _linear(func, args, kwargs, ([above(part) for part in args[0]], *args[1:]))
    return _linear(func, args, kwargs, (*map(above, args[:2]), *args[2:]))


def _product(func: Callable, a: Jet | Tensor | float, b: Jet | Tensor | float) -> Jet:
    n_terms = len(_jets(a, b)[0].terms)
    x, y = (factor.terms if isinstance(factor, Jet) else [factor, *[None] * (n_terms - 1)] for factor in (a, b))
    return Jet(series.multiply(x, y, func))


def _plus_product(func, summand, a, b, *, alpha=1, **weight):
    return alpha * (a @ b) + weight.get("beta", 1) * summand


def _convolution(func, x, weight, bias, *options):
    if not isinstance(x, Jet) or _jets(weight, bias):
        raise NotImplementedError("no power series is known for a convolution whose weights depend on t")
    above = [None if term is None else func(term, weight, None, *options) for term in x.terms[1:]]
    return Jet([func(x.terms[0], weight, bias, *options), *above])


def _div(func, a, b, rounding_mode=None):
    if rounding_mode is not None:
        raise Kink("div with rounding")
    return a * Jet(series.power(b.terms, -1.0)) if isinstance(b, Jet) else Jet([_divided(term, b) for term in a.terms])


def _divided(term: Tensor | None, b: Tensor | float) -> Tensor | None:
    return None if term is None else term / b


def _pow(func, x, exponent):
    if not isinstance(x, Jet) or isinstance(exponent, Tensor):
        raise NotImplementedError("no power series is known for pow with an exponent that is a tensor")
    return Jet(series.power(x.terms, exponent))


def _logsumexp(func, x, dim, keepdim=False):
    top = x.terms[0].amax(dim, keepdim=True)  # keeps e^x in range, and drops out
    total = (x - top).exp().sum(dim, keepdim=True).log() + top
    return total if keepdim else total.squeeze(dim)


def _log_softmax(func, x, dim, half_to_float):
    return x - torch.logsumexp(x, [dim], keepdim=True)


def _layer_norm(func, x, shape, weight, bias, eps):
    axes = list(range(x.ndim - len(shape), x.ndim))
    centred = x - x.mean(axes, keepdim=True)
    result = centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    result = result if weight is None else result * weight
    return result if bias is None else result + bias, None, None


def _function(function: Callable[[Series], Series]) -> Callable:
    return lambda func, x, *options: Jet(function(x.terms, *options))


RULES: dict[str, Callable] = {
    "mul": _product, "mm": _product, "bmm": _product, "mv": _product, "dot": _product, "convolution": _convolution,
    "addmm": _plus_product, "baddbmm": _plus_product,
    "div": _div, "pow": _pow, "logsumexp": _logsumexp, "_log_softmax": _log_softmax,
    "_softmax": lambda *args: _log_softmax(*args).exp(), "native_layer_norm": _layer_norm,
    "log_sigmoid_forward": lambda func, x: (Jet(series.log_sigmoid(x.terms)), x.terms[0]),
    "sqrt": _function(lambda x: series.power(x, 0.5)), "rsqrt": _function(lambda x: series.power(x, -0.5)),
    "reciprocal": _function(lambda x: series.power(x, -1.0)), "square": _function(lambda x: series.power(x, 2.0)),
    "sin": _function(lambda x: series.sine_and_cosine(x)[0]), "cos": _function(lambda x: series.sine_and_cosine(x)[1]),
}  # fmt: skip
RULES |= {name: _function(getattr(series, name)) for name in "exp expm1 log log1p tanh sigmoid softplus erf".split()}
