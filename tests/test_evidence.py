"""What a chapter hands to claim: numbers of any library taken, what cannot be judged refused by name."""

import json

import numpy as np
import pytest
import torch

from latentlib.ledger import claim


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"id": "pruning-eq8-prize"}, KeyError, "want an id of book/claims.yml, .*did you mean 'pruning-eq8-price'"),
        ({"measured": float("nan")}, ValueError, "want measured finite"),
        ({"measured": [1.0, 2.0]}, TypeError, "want measured as one number"),
        ({"measured": 7.0}, ValueError, r"want an interval around measured = 7, got \(0.4, 0.6\)"),
        ({"interval": None}, ValueError, "want a 95 % interval"),
        ({"interval": (0.6, 0.4)}, ValueError, "low <= high"),
        ({"interval": 0.1}, TypeError, r"want interval as \(low, high\)"),
        ({"null": (0.0, 0.1, 0.2)}, TypeError, "want null as"),
        ({"expected": "large"}, ValueError, "want an Expectation or one of"),
        ({"data": " "}, ValueError, "want data in words"),
        ({"sizes": {}}, TypeError, "want sizes as names and numbers"),
        ({"sizes": {"n_samples": 0}}, ValueError, "want n_samples > 0"),
        ({"repetitions": 0}, ValueError, "want repetitions > 0"),
        ({"repetitions": 2.5}, ValueError, "want repetitions as a whole number"),
        ({"interval_method": "bootstrap over pairs"}, ValueError, "never over pairs"),
        ({"deviations": "half the epochs"}, TypeError, "want deviations as a list"),
        ({"parts": {"b": (1, None, "> 0")}}, TypeError, "want parts as name: Part"),
    ],
)
def test_claim_refuses_what_it_cannot_judge(change, error, message):
    given = {
        "id": "pruning-eq8-price",
        "measured": 0.5,
        "interval": (0.4, 0.6),
        "expected": "> 0",
        "data": "x",
        "sizes": {"n_samples": 9},
        "repetitions": 3,
        "interval_method": "over points",
    }
    with pytest.raises(error, match=message):
        claim(**{**given, **change})


def test_claim_takes_numbers_of_numpy_and_torch():
    numbers = (torch.tensor(0.5), torch.tensor([0.4, 0.6]), "> 0")
    word = claim(
        "pruning-eq8-price",
        *numbers,
        null=torch.tensor(0.0),
        data="x",
        sizes={"n": np.int64(9), "n_latent": [4, 8]},
        repetitions=np.int64(3),
        interval_method="over points",
    )
    assert word == "supported here" and json.dumps(word.row)
