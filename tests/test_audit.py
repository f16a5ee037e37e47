"""The audit: what a batch tells, on a network of one layer where it is exact, and the published table on real data."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from latentlib import audit, datasets, detection, encoding, models, residual_vae

needs_data = pytest.mark.skipif(
    not os.environ.get("LATENTLIB_DATA"), reason="LATENTLIB_DATA is not set: no CIFAR-10, no released weights"
)


class OneLayer(nn.Module):
    """μ = BatchNorm(Wx) with the running statistics of given data: the least network that can leak."""

    def __init__(self, x: torch.Tensor, n_latent: int = 6) -> None:
        super().__init__()
        self.linear = nn.Linear(x[0].numel(), n_latent, bias=False, dtype=x.dtype)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            self.linear.weight.copy_(torch.randn(n_latent, x[0].numel(), generator=generator, dtype=x.dtype))
        self.norm = nn.BatchNorm1d(n_latent, momentum=None, dtype=x.dtype)  # momentum None: the plain average
        self.train()(x)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(x.flatten(1)))

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (mu := self(x)), torch.zeros_like(mu)


@pytest.fixture
def images(generator) -> torch.Tensor:
    return torch.rand(600, 1, 4, 4, generator=generator, dtype=torch.float64)


OPTIONS = {"batch_size": 50, "ood_batch_size": 100, "n_resamples": 99, "progress": False}


def by_protocol(*arguments, **options) -> dict[str, audit.AuditRow]:
    rows = audit.audit_encoder(*arguments, **{"protocols": tuple(audit.PROTOCOLS)} | OPTIONS | options)
    return {row.protocol: row for row in rows}


def test_audit_encoder_pure_batches_hide_a_brightness_shift(images):
    """x → x + c shifts every activation by Wc: with the batch mean the codes are the same, and the set is invisible.

    The OOD images are the ID images, brighter: in pure batches of one order their codes agree to rounding.
    """
    model, bank, own = OneLayer(images), images[:400], images[400:]
    eval_code = encoding.encode_means(model, own + 1)
    assert (eval_code - encoding.encode_means(model, own)).abs().min() > 0.1
    for mode in ("batch", "batch_mean"):
        codes = (encoding.encode_means(model, x, mode=mode, batch_size=50) for x in (own, own + 1))
        assert torch.allclose(*codes, rtol=0, atol=1e-12)
    found = by_protocol(model, bank, own, {"brighter": own + 1})
    assert found["eval"].auroc > 0.99 and found["published_var"].auroc > 0.99
    # Without the mean the two sets are one law in batches of other sizes: 0.5 within 4 s.e., √(1/6n), and the excess
    # of an ID batch of 50 over one of 100 rows, by which mean and variance are less well known.
    assert abs(found["published"].auroc - 0.5) <= 4 * (1 / 1200) ** 0.5 + 0.05
    assert abs(found["published_mean"].auroc - 0.5) <= 4 * (1 / 1200) ** 0.5 + 0.05
    # In company half of the shift is left on either side.
    assert found["mixed"].auroc < found["eval"].auroc


def test_audit_encoder_company_makes_ordinary_images_anomalies(images):
    """OOD of which seven of eight rows are dark noise and one is ordinary: alone the ordinary ones score as ID do, in
    pure batches their company moves them."""
    model, bank, own = OneLayer(images), images[:400], images[400:]
    ordinary = torch.zeros(800, dtype=torch.bool)
    ordinary[::8] = True
    strange = 0.1 * images.repeat(2, 1, 1, 1)[:800]
    strange[ordinary] = own[:100]
    found = by_protocol(model, bank, own, {"company": strange})

    def auroc_of_ordinary(protocol: str) -> float:
        return detection.auroc(found[protocol].id_scores[:100], found[protocol].ood_scores[ordinary])

    assert torch.allclose(found["eval"].id_scores[:100], found["eval"].ood_scores[ordinary], rtol=1e-12)
    assert auroc_of_ordinary("eval") == pytest.approx(0.5, abs=1e-3)  # the same images, but for rounding
    assert auroc_of_ordinary("published") > 0.95


def test_audit_encoder_scores_are_those_of_its_parts(images):
    """Row by row, with scores in the order of the images."""
    from latentlib import neighbors

    model, bank, own, ood = OneLayer(images), images[:300], images[300:400], 0.5 * images[400:]
    found = by_protocol(model, bank, own, {"dim": ood}, reduce="kth", k=2, normalize=True)
    codes = [encoding.encode_means(model, x) for x in (bank, own, ood)]
    for scores, z in zip((found["eval"].id_scores, found["eval"].ood_scores), codes[1:], strict=True):
        expected = neighbors.knn_score(z, codes[0], k=2, reduce="kth", normalize=True)
        assert torch.allclose(scores, expected, rtol=1e-12)
    for row in found.values():
        assert row.auroc == detection.auroc(row.id_scores, row.ood_scores)
        assert row.fpr95_id_positive == detection.fpr_at_tpr(row.id_scores, row.ood_scores, positive="id")
        assert row.fpr95_ood_positive == detection.fpr_at_tpr(row.id_scores, row.ood_scores, positive="ood")
        assert row.score == "2-NN distance, normalized" and str(row).startswith(f"dim, {row.protocol}, 2-NN")
        assert (row.n_id, row.n_ood) == (100, 200)


def test_audit_encoder_takes_pure_and_mixed_batches(images):
    """Which rows meet in a batch, seen by an encoder that writes it down."""

    class Recorder(OneLayer):
        batches: list = []  # noqa: RUF012

        def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            self.batches.append(x[:, 0, 0, 0].sign())
            return super().encode(x)

    model, bank, own, ood = Recorder(images), images[:200], images[200:300], -images[300:500]
    for protocol, ood_size in (("published", 100), ("mixed", 50)):
        model.batches.clear()
        by_protocol(model, bank, own, {"negative": ood}, protocols=(protocol,))
        sizes = {(len(x), (x < 0).double().mean().item()) for x in model.batches}
        expected = {(50, 0.0), (100, 1.0)} if protocol == "published" else {(50, 0.0), (50, 0.5)}
        assert sizes == expected, (protocol, sizes)
        n_bank = 200 // 50
        n_images = 100 // 50 + 200 // ood_size if protocol == "published" else (100 + 200) // 25
        assert len(model.batches) == n_bank + n_images


def test_audit_encoder_mixes_copies_without_their_originals(images):
    """Of 25 ID images and 25 negatives of ID images in a batch only chance pairs: 25²/200 = 3.1 ± 1.8 of them."""

    class Recorder(OneLayer):
        matches: list = []  # noqa: RUF012

        def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            first = x[:, 0, 0, 0]
            self.matches.append((first[:, None] == -first).sum().item() / 2)
            return super().encode(x)

    model = Recorder(images)
    by_protocol(model, images[:200], images[200:400], {"negative": -images[200:400]}, protocols=("mixed",))
    mixed = torch.tensor(model.matches[4:])  # after the four batches of the bank
    assert len(mixed) == 16 and 0 < mixed.mean() <= 3.1 + 4 * 1.8 / 4


def test_audit_encoder_without_batchnorm_is_one_number(images):
    model = models.MLPVAE(16, 3, hidden=(8,), seed=0).double()
    flat = images.flatten(1)
    found = by_protocol(model, flat[:300], flat[300:450], {"dim": 0.5 * flat[450:]})
    assert len({round(row.auroc, 12) for row in found.values()}) == 1


def test_audit_encoder_is_deterministic_and_leaves_the_model(images):
    model = OneLayer(images).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sets = {"dim": 0.5 * images[400:], "bright": images[400:] + 0.2}
    first, again = (by_protocol(model, images[:200], images[200:400], sets, protocols=("mixed",)) for _ in range(2))
    assert first == again and torch.equal(first["mixed"].id_scores, again["mixed"].id_scores)
    other = by_protocol(model, images[:200], images[200:400], sets, protocols=("mixed",), seed=1)
    assert not torch.equal(first["mixed"].id_scores, other["mixed"].id_scores)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    rows = audit.audit_encoder(model, images[:200], images[200:400], sets, protocols=("eval", "mixed"), **OPTIONS)
    assert [(row.ood_set, row.protocol) for row in rows] == [
        ("dim", "eval"), ("dim", "mixed"), ("bright", "eval"), ("bright", "mixed")
    ]  # fmt: skip


def test_audit_encoder_refuses_bad_input(images):
    model, sets = OneLayer(images), {"dim": 0.5 * images}
    with pytest.raises(ValueError, match="protocols: want some of eval, .*, got historical"):
        audit.audit_encoder(model, images, images, sets, protocols=("historical",))
    with pytest.raises(ValueError, match="got none"):
        audit.audit_encoder(model, images, images, sets, protocols=())
    for bad, found in (({}, "dict of length 0"), (images, "Tensor of length 600")):
        with pytest.raises(ValueError, match=f"ood_sets: want images by name, got {found}"):
            audit.audit_encoder(model, images, images, bad)
    with pytest.raises(ValueError, match="reduce: want 'kth' or 'mean'"):
        audit.audit_encoder(model, images, images, sets, reduce="median", **OPTIONS)
    with pytest.raises(ValueError, match="want finite values"):
        audit.audit_encoder(model, images, images, {"bad": images / 0}, **OPTIONS)


def test_read_scores_splits_by_label_and_refuses_other_files(tmp_path):
    scores, labels = np.arange(5, dtype=np.float32), np.array([0, 1, 0, 1, 1])
    np.savez(tmp_path / "good.npz", scores=scores, labels=labels)
    own, ood = audit.read_scores(tmp_path / "good.npz")
    assert own.tolist() == [0, 2] and ood.tolist() == [1, 3, 4] and own.dtype == torch.float64
    bad = {
        "keys": {"scores": scores}, "shape": {"scores": scores[:, None], "labels": labels},
        "labels": {"scores": scores, "labels": labels + 1}, "pickle": {"scores": scores.astype(object), "labels": labels},
    }  # fmt: skip
    for name, arrays in bad.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(ValueError, match=f"{name}.npz: want"):
            audit.read_scores(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        audit.read_scores(tmp_path / "absent.npz")


@needs_data
def test_read_scores_reads_the_archived_result():
    own, ood = audit.read_scores(models.weights_path("compressed_vae_cifar10_cifar100_scores.npz"))
    assert len(own) == len(ood) == 10_000
    assert abs(detection.auroc(own, ood) - 0.8954305) <= 5e-8


# Real data


# AUROC of the released network, CIFAR-10 test against 10 000 SVHN crops, bank of 50 000, mean of 3 distances.
MEASURED = {"eval": 0.7012, "published": 0.9338, "mixed": 0.7290}


@needs_data
def test_audit_encoder_reproduces_the_leak_of_the_released_network():
    """A quarter of the sizes, to fit a test: ± 0.01, as of all images, and 3 s.e. of a sample of a quarter."""
    model = residual_vae.load_released(models.weights_path("cifar10_full_compression_z128_ec126.pt"))
    bank, own, ood = (replace(of := datasets.load(*names), x=of.x[:n]).images() for names, n in (
        (("cifar10", "train"), 12_500), (("cifar10", "test"), 2500), (("svhn", "crops"), 2500)
    ))  # fmt: skip
    rows = audit.audit_encoder(model, bank, own, {"svhn": ood}, n_resamples=199, progress=False)
    found = {row.protocol: row for row in rows}
    for protocol, expected in MEASURED.items():
        low, high = found[protocol].auroc_interval  # 3.92 s.e. wide
        assert abs(found[protocol].auroc - expected) <= 0.01 + 3 * (high - low) / 3.92, str(found[protocol])
    # In pure batches FPR95 falls to half or less in the OOD-positive convention, by a third in the other.
    assert found["published"].fpr95_ood_positive < 0.5 * found["eval"].fpr95_ood_positive
    assert found["published"].fpr95_id_positive < 0.85 * found["eval"].fpr95_id_positive
    assert found["mixed"].fpr95_ood_positive > found["eval"].fpr95_ood_positive
