"""Feature networks: what a distance may be called, published weights on their own data, a classifier trained here."""

import os

import pytest
import torch
from torch import nn

from latentlib import datasets, feature_network, models
from latentlib._classifiers import CifarResNet, LeNet

needs_data = pytest.mark.skipif(not os.environ.get("LATENTLIB_DATA"), reason="LATENTLIB_DATA is not set")


class Mean(nn.Module):
    """Two features without weights; training mode adds 1, so that a test can see it."""

    def features(self, x):
        return x.flatten(1)[:, :2] + self.training


@pytest.fixture(scope="module")
def digits():
    data = datasets.load("digits")
    order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(0))
    return data.matrix()[order] / 16, data.y[order]


def test_distance_name_is_fid_for_inception_alone():
    assert feature_network.FeatureNetwork("Inception-v3", Mean(), 2048, is_inception=True).distance_name == "FID"
    network = feature_network.FeatureNetwork("ResNet-20", Mean(), 2)
    assert network.distance_name == "Fréchet distance of ResNet-20 features"
    for name in ("FID network", "my-fid"):
        with pytest.raises(ValueError, match="want no FID in the name of a network that is not Inception"):
            feature_network.FeatureNetwork(name, Mean(), 2)


def test_feature_network_batches_agree_and_leave_the_mode(generator):
    network = feature_network.FeatureNetwork("mean", Mean().train(), 2)
    x = torch.rand(7, 3, 2, 2, generator=generator)
    found = network(x, batch_size=3)
    assert torch.equal(found, x.flatten(1)[:, :2]) and network.module.training
    resnet = feature_network.FeatureNetwork("random", CifarResNet(8).train(), 64)
    x = torch.rand(5, 3, 32, 32, generator=generator)
    before = {name: value.clone() for name, value in resnet.module.state_dict().items()}
    # Evaluation mode: an image has its features alone; float32 sums of 576 terms and three blocks, 1e-5 relative.
    assert torch.allclose(resnet(x, batch_size=2), resnet(x), rtol=1e-4, atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in resnet.module.state_dict().items())
    assert resnet.logits(x).shape == (5, 10) and not resnet(x).requires_grad
    assert resnet(x.double()).dtype == torch.float32  # taken to the dtype of the weights


def test_accuracy_counts_the_right_ones():
    network = feature_network.FeatureNetwork("identity", nn.Identity(), 3)
    x = torch.eye(3).repeat(2, 1)
    assert network.accuracy(x, torch.tensor([0, 1, 2, 0, 1, 0]), batch_size=4) == 5 / 6


def test_train_classifier_learns_digits_and_its_features_are_the_hidden_layer(digits):
    x, y = digits
    state = torch.get_rng_state()
    options = {"seed": 1, "n_features": 24, "n_epochs": 8}
    networks = {
        shape: feature_network.train_classifier(x[:1300].reshape(-1, *shape), y[:1300], **options)
        for shape in ((64,), (1, 8, 8))
    }
    assert torch.equal(torch.get_rng_state(), state)
    for shape, network in networks.items():
        held_out = x[1300:].reshape(-1, *shape)
        features = network(held_out)
        assert features.shape == (497, 24) and not network.module.training
        assert torch.equal(network.logits(held_out), network.module.head(features))
        # A linear classifier is right on 0.95 of such digits: within 4 s.e. of a share of 497.
        assert network.accuracy(held_out, y[1300:]) >= 0.95 - 4 * (0.95 * 0.05 / 497) ** 0.5
        assert "trained here" in network.distance_name and "FID" not in network.distance_name


def test_train_classifier_follows_its_seed(digits):
    x, y = digits
    options = {"n_features": 8, "n_epochs": 2}
    first, again, other = (feature_network.train_classifier(x[:300], y[:300], seed=s, **options) for s in (1, 1, 2))
    assert torch.equal(first(x[:9]), again(x[:9])) and not torch.equal(first(x[:9]), other(x[:9]))


def test_train_classifier_of_constant_inputs_and_of_a_divergence(digits):
    x, y = digits
    network = feature_network.train_classifier(torch.ones(40, 3), y[:40] % 2, seed=0, n_epochs=1)
    assert network(torch.ones(2, 3)).isfinite().all()
    with pytest.raises(FloatingPointError, match="want a finite loss, got nan in epoch 0"):
        feature_network.train_classifier(x[:300], y[:300], seed=0, learning_rate=1e30)


@pytest.mark.parametrize(("depth", "n_parameters"), [(20, 269_722), (56, 853_018)])
def test_cifar_resnet_has_the_published_size(depth, n_parameters):
    """0.27 M and 0.85 M in He et al. (2016), table 6; exact counts of skips without weights."""
    assert sum(p.numel() for p in CifarResNet(depth).parameters()) == n_parameters


def test_cifar_resnet_skips_take_every_second_pixel_and_pad_channels_on_both_sides(generator):
    """With branches of zero the net is its skips: stem at every fourth pixel, 8 + 16 channels on, zeros around."""
    network = CifarResNet(8).eval()
    for name, module in network.named_modules():
        if name.endswith("bn2"):
            nn.init.zeros_(module.weight)
    x = torch.rand(2, 3, 32, 32, generator=generator)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        stem = network.bn1(network.conv1((x - mean[:, None, None]) / std[:, None, None])).relu()
        stem = stem[:, :, ::4, ::4].mean((2, 3))
        features = network.features(x)
    assert torch.allclose(features[:, 24:40], stem, rtol=1e-5, atol=1e-7)  # float32 means of 64 numbers
    assert (features[:, :24] == 0).all() and (features[:, 40:] == 0).all()


def test_load_classifier_reads_what_was_saved(tmp_path, generator):
    for network, shape, name in ((CifarResNet(14, 7), (3, 32, 32), "ResNet-14"), (LeNet(), (1, 28, 28), "LeNet-5")):
        network.eval()
        state = torch.get_rng_state()
        x = torch.rand(2, *shape, generator=generator)
        prefixed = {f"module.{key}": value for key, value in network.state_dict().items()}
        torch.save({"best": 1.0, "state_dict": prefixed}, tmp_path / "a")
        torch.save(network.state_dict(), tmp_path / "b")
        for file in ("a", "b"):
            loaded = feature_network.load_classifier(tmp_path / file)
            assert loaded.name == name and torch.equal(loaded(x), network.features(x).detach())
            assert torch.equal(loaded.logits(x), network(x).detach())
        assert torch.equal(torch.get_rng_state(), state)
    assert feature_network.load_classifier(tmp_path / "b", name="LeNet of MNIST").name == "LeNet of MNIST"


@needs_data
@pytest.mark.parametrize(
    ("file", "data", "n_images", "share"),
    [
        ("pytorch_resnet_cifar10__resnet20-12fca82f.th", "cifar10", 500, 0.9173),
        ("gan-vae-pretrained-pytorch__lenet_epoch=12_test_acc=0.991.pth", "mnist", 2000, 0.991),
    ],
)
def test_load_classifier_has_the_published_accuracy(file, data, n_images, share):
    """The first images of the test set; 4 s.e. of a share, corrected for what the whole of 10 000 fixes."""
    test = datasets.load(data, "test")
    network = feature_network.load_classifier(models.weights_path(file))
    images, labels = test.images()[:n_images], test.y[:n_images]
    standard_error = (share * (1 - share) / n_images * (1 - n_images / 10_000)) ** 0.5
    assert abs(network.accuracy(images, labels) - share) <= 4 * standard_error


def test_load_inception_takes_its_weights_alone_and_8_bits(tmp_path, monkeypatch, generator):
    """Inception itself is stood in for: its weights are 95 MB and not here; what surrounds it is tested."""
    path = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    with pytest.raises(FileNotFoundError, match="want the Inception weights"):
        feature_network.load_inception(path)
    path.write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"want SHA-256 6726825d..., got [0-9a-f]{64}: others give no FID"):
        feature_network.load_inception(path)

    import torchmetrics.image.fid

    class Inception(nn.Module):
        def __init__(self, name, features_list, feature_extractor_weights_path):
            super().__init__()
            assert features_list == ["2048"] and feature_extractor_weights_path == str(path)

        def forward(self, x):
            assert x.dtype == torch.uint8 and x.shape[1:] == (3, 4, 4)
            return x.flatten(1)[:, :1].expand(-1, 2048).float()

    monkeypatch.setattr(feature_network, "INCEPTION_SHA256", "")
    monkeypatch.setattr(torchmetrics.image.fid, "NoTrainInceptionV3", Inception)
    network = feature_network.load_inception(path)
    gray = torch.full((3, 1, 4, 4), 127.6 / 255)
    assert network.distance_name == "FID" and torch.equal(network(gray), torch.full((3, 2048), 128.0))
    assert torch.equal(network(2 * gray.expand(-1, 3, -1, -1)), torch.full((3, 2048), 255.0))


def test_load_inception_without_torch_fidelity_says_what_to_install(tmp_path, monkeypatch):
    import torchmetrics.image.fid

    monkeypatch.setattr(feature_network, "INCEPTION_SHA256", "")
    monkeypatch.setattr(torchmetrics.image.fid, "_TORCH_FIDELITY_AVAILABLE", False)
    (tmp_path / "weights").touch()
    with pytest.raises(ModuleNotFoundError, match="pip install torch-fidelity"):
        feature_network.load_inception(tmp_path / "weights")


X, Y = torch.zeros(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
MEAN = feature_network.FeatureNetwork("mean", Mean(), 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: feature_network.FeatureNetwork("a", Mean(), 0), "n_features: want integers ≥ 1, got 0"),
        (lambda: MEAN(X[:0]), r"x: want floating \(n_samples > 0, \*sample_shape\), got torch.float32 \(0, 4\)"),
        (lambda: MEAN(X.long()), "x: want floating .* got torch.int64"),
        (lambda: MEAN(X.log()), "x: want finite values, got 24 that are not"),
        (lambda: MEAN(X[:, :1]), r"mean: want features \(6, 2\), got \(6, 1\)"),
        (lambda: MEAN.accuracy(X, Y[:3]), r"y: want a label a sample, \(6,\), got \(3,\)"),
        (lambda: feature_network.train_classifier(X[:, None], Y, seed=0), r"\(n_samples, size\) or .* got \(6, 1, 4\)"),
        (lambda: feature_network.train_classifier(torch.zeros(6, 1, 8, 6), Y, seed=0), "sides of 4·k, got"),
        (lambda: feature_network.train_classifier(X, Y.float(), seed=0), r"y: want int64 labels \(6,\), got torch"),
        (lambda: feature_network.train_classifier(X, Y + 1, seed=0), r"two or more, got \[1, 2, 3\]"),
        (lambda: feature_network.train_classifier(X, 0 * Y, seed=0), r"two or more, got \[0\]"),
        (lambda: feature_network.train_classifier(X, Y, seed=0, n_epochs=0), "n_epochs: want integers ≥ 1, got 0"),
        (lambda: CifarResNet(21), r"depth: want 8, 14, 20, ... \(6k \+ 2\), got 21"),
        (lambda: CifarResNet(8).features(torch.zeros(2, 3, 28, 28)), r"want images .* got \(2, 3, 28"),
        (lambda: LeNet().features(torch.zeros(2, 3, 32, 32)), "LeNet: want images .* got"),
    ],
)
def test_feature_network_bad_input_names_wanted_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "file: want a table name → tensor, or one under 'state_dict', got another file"),
        ({"state_dict": {"a": 1}}, "file: want a table name → tensor"),
        ({"fc.weight": torch.zeros(2)}, "want the weights of a CIFAR ResNet or of LeNet-5, got fc.weight"),
        ({"layer1.0.conv1.weight": torch.zeros(2), "linear.bias": torch.zeros(10)}, "weights of a CifarResNet, got"),
    ],
)
def test_load_classifier_refuses_other_files(content, message, tmp_path):
    torch.save(content, tmp_path / "file")
    with pytest.raises(ValueError, match=message):
        feature_network.load_classifier(tmp_path / "file")
