"""Linear dependences: found by name, in the units of the data, and nothing else taken for one."""

import os

import pytest
import torch
from latentlib import datasets, dependence


@pytest.fixture
def x(generator):
    return torch.randn(200, 5, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 100.0, 0.01, 3.0, 1.0])


def test_linear_dependences_of_independent_features_are_none(x):
    assert dependence.linear_dependences(x).shape == (0, 5)


def test_linear_dependences_finds_a_difference_in_the_units_of_the_data(x):
    x[:, 4] = 7 + x[:, 1] - 2 * x[:, 3]
    (relation,) = dependence.linear_dependences(x)
    assert torch.allclose(relation / relation[1], torch.tensor([0.0, 1.0, 0.0, -2.0, -1.0]).double(), atol=1e-9)
    assert relation.abs().max() == 1
    assert (x @ relation).std() <= 1e-9 * x.std()


def test_linear_dependences_keeps_two_relations_apart(x):
    x[:, 1], x[:, 4] = 3 * x[:, 0], x[:, 2] + x[:, 3]
    found = dependence.linear_dependences(x)
    assert sorted(frozenset(row.nonzero().flatten().tolist()) for row in found) in (
        [{0, 1}, {2, 3, 4}], [{2, 3, 4}, {0, 1}],
    )  # fmt: skip
    assert ((x @ found.T).std(0) <= 1e-9 * x.std()).all()


def test_linear_dependences_names_a_constant_feature(x):
    x[:, 2] = 0.1
    (relation,) = dependence.linear_dependences(x)
    assert relation.tolist() == [0, 0, 1, 0, 0]


def test_linear_dependences_of_few_samples_leaves_the_rank(x):
    assert len(dependence.linear_dependences(x[:3])) == 3  # two directions remain


@pytest.mark.skipif(not os.environ.get("LATENTLIB_DATA"), reason="LATENTLIB_DATA is not set: no climate here")
def test_linear_dependences_of_the_climate():
    climate = datasets.load("worldclim", "val", download=False).matrix()
    (relation,) = dependence.linear_dependences(climate)
    assert relation.nonzero().flatten().tolist() == [4, 5, 6]  # BIO7 = BIO5 − BIO6
    assert torch.allclose(relation[4:7] / relation[6], torch.tensor([-1.0, 1.0, 1.0]).double(), atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_linear_dependences_refuses_a_share_out_of_range(x, share):
    with pytest.raises(ValueError, match="zero_share: want a share between 0 and 1"):
        dependence.linear_dependences(x, zero_share=share)


def test_linear_dependences_refuses_values_that_are_not_finite(x):
    x[0, 0] = torch.nan
    with pytest.raises(ValueError, match="x: want finite"):
        dependence.linear_dependences(x)
