"""Networks whose features a Fréchet distance is taken in, and the name it then may have; the classifiers among them.

    network = feature_network.load_classifier(models.weights_path("pytorch_resnet_cifar10__resnet20-12fca82f.th"))
    network.accuracy(x_test, y_test), frechet.frechet_distance(network(x_test), network(x_decoded))
    print(network.distance_name)                    # Fréchet distance of ResNet-20 features

Images are floating, in [0, 1], (n_samples, channels, height, width). Normalization is part of the network.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from latentlib._classifiers import CifarResNet, Classifier, LeNet, image_body, vector_body
from latentlib._training import Adam
from latentlib._vae import check_sizes, seeded
from latentlib._weights import read_torch

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # first digits, of the weights every published FID is computed with


@dataclass(frozen=True)
class FeatureNetwork:
    """A named map x → features (n_samples, n_features): a module with `features(x)`, and `forward(x)` → logits if any.

    Called, it takes images in batches, in evaluation mode, without gradients, on the device of its weights.
    Raises: ValueError for a name with FID in it that is not Inception's, or no features.
    """

    name: str
    module: nn.Module
    n_features: int
    is_inception: bool = False

    def __post_init__(self) -> None:
        check_sizes(n_features=self.n_features)
        if "fid" in self.name.lower() and not self.is_inception:
            raise ValueError(f"name: want no FID in the name of a network that is not Inception, got {self.name!r}")

    @property
    def distance_name(self) -> str:
        """FID of Inception features alone; of any other the Fréchet distance, with the name of the network."""
        return "FID" if self.is_inception else f"Fréchet distance of {self.name} features"

    def __call__(self, x: Tensor, *, batch_size: int = 500) -> Tensor:
        """Features of x (n_samples > 0, *sample_shape). Raises ValueError for x not floating, not finite, or empty."""
        features = self._batched(self.module.features, x, batch_size)
        if features.shape != (len(x), self.n_features):
            want = (len(x), self.n_features)
            raise ValueError(f"{self.name}: want features {want}, got {tuple(features.shape)}")
        return features

    def logits(self, x: Tensor, *, batch_size: int = 500) -> Tensor:
        """Class logits (n_samples, n_classes), as `__call__` takes and refuses x."""
        return self._batched(self.module, x, batch_size)

    def accuracy(self, x: Tensor, y: Tensor, *, batch_size: int = 500) -> float:
        """Share of x whose largest logit is that of its label, in [0, 1]. Raises: ValueError for other labels."""
        if y.shape != x.shape[:1]:
            raise ValueError(f"y: want a label a sample, ({len(x)},), got {tuple(y.shape)}")
        return (self.logits(x, batch_size=batch_size).argmax(1).to(y.device) == y).double().mean().item()

    @torch.no_grad()
    def _batched(self, call, x: Tensor, batch_size: int) -> Tensor:
        _check_images(x)
        like = next(self.module.parameters(), x)
        was_training = [(module, module.training) for module in self.module.modules()]
        self.module.eval()
        try:
            return torch.cat([call(rows.to(like.device, like.dtype)) for rows in x.split(batch_size)])
        finally:
            for module, training in was_training:
                module.training = training


def train_classifier(
    x: Tensor, y: Tensor, *, n_features: int = 64, n_epochs: int = 20, batch_size: int = 50,
    learning_rate: float = 3e-3, seed: int,
) -> FeatureNetwork:
    """A small classifier trained here: cross-entropy, Adam, cosine schedule; the features are its last hidden layer.

    Vectors: two SiLU layers of n_features. Images: convolutions of stride 2 to 16 and 32 channels, then a layer of
    n_features. Inputs are shifted and scaled by one mean and one deviation of x. Equal seeds give equal weights on one
    machine; the global random state is untouched. Its accuracy on held-out data, `network.accuracy(x_test, y_test)`,
    says whether its features mean anything.
    Args: x (n_samples, size) or (n_samples, channels, height, width), sides of 4·k, floating; y (n_samples,), whole
    numbers 0 … n_classes − 1. Returns: FeatureNetwork, in `.eval()`.
    Raises: ValueError for other shapes, labels or counts; FloatingPointError once the loss is not finite.
    """
    check_sizes(n_features=n_features, n_epochs=n_epochs, batch_size=batch_size)
    n_classes = _check_examples(x, y)
    with seeded(seed):
        body = vector_body(x, n_features) if x.ndim == 2 else image_body(x, n_features)
        network = Classifier(body, n_features, n_classes).to(x.device, x.dtype)
    generator = torch.Generator().manual_seed(seed)
    parameters = list(network.parameters())
    adam, n_batches = Adam(parameters), math.ceil(len(x) / batch_size)
    for epoch in range(n_epochs):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for batch, rows in enumerate(order.split(batch_size)):
            loss = cross_entropy(network(x[rows]), y[rows])
            share = (epoch + batch / n_batches) / n_epochs
            rate = learning_rate * (1 + math.cos(math.pi * share)) / 2
            adam.descend(torch.autograd.grad(loss, parameters), rate)
        if not loss.isfinite():
            raise FloatingPointError(f"train_classifier: want a finite loss, got {loss.item()} in epoch {epoch}")
    kind = "perceptron" if x.ndim == 2 else "convolutional classifier"
    return FeatureNetwork(f"a {kind} trained here", network.eval(), n_features)


def load_classifier(path: str | Path, *, name: str | None = None) -> FeatureNetwork:
    """A classifier trained elsewhere, from its torch file: a CIFAR ResNet of any depth, or LeNet-5.

    ResNet: the files of pytorch_resnet_cifar10 ({state_dict, ...} with names `module.*`), 3 × 32 × 32, 64 features;
    ResNet-20 of CIFAR-10 is right on 91.73 % of the test images. LeNet-5: names `convnet.*` and `fc.*`, 1 × 28 × 28, 84
    features. Nothing in the file is executed.
    Args: name, printed with every distance, default that of the architecture. Returns: FeatureNetwork, in `.eval()`.
    Raises: FileNotFoundError; ValueError for another file, or weights missing, left over or of another shape.
    """
    path = Path(path)
    content = read_torch(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path.name}: want a table name → tensor, or one under 'state_dict', got another file")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    n_blocks = len({key.split(".")[1] for key in state if key.startswith("layer1.")})
    if not n_blocks and "convnet.c1.weight" not in state:
        found = ", ".join([*state][:3])
        raise ValueError(f"{path.name}: want the weights of a CIFAR ResNet or of LeNet-5, got {found}")
    with seeded(0):  # the weights are replaced; torch's random state is not to move
        network = CifarResNet(6 * n_blocks + 2, len(state.get("linear.bias", ()))) if n_blocks else LeNet()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path.name}: want the weights of a {type(network).__name__}, got: {error}") from error
    default, n_features = (f"ResNet-{6 * n_blocks + 2}", 64) if n_blocks else ("LeNet-5", 84)
    return FeatureNetwork(name or default, network.eval(), n_features)


def load_inception(path: str | Path) -> FeatureNetwork:
    """The Inception network of every published FID, 2048 features of its last pooling, by torchmetrics.

    Images of any size, gray or color, in [0, 1], rounded to 8 bits and resized to 299 × 299 as torchmetrics does.
    Needs torch-fidelity, and its file of weights `path`. Nothing is downloaded.
    Raises: FileNotFoundError; ValueError for other weights: theirs would be no FID; ModuleNotFoundError without
    torch-fidelity (pip install torch-fidelity).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"want the Inception weights ({INCEPTION_FILE}), got no file {path.name!r}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found.startswith(INCEPTION_SHA256):
        raise ValueError(f"{path.name}: want SHA-256 {INCEPTION_SHA256}..., got {found}: others give no FID")
    from torchmetrics.image.fid import NoTrainInceptionV3

    network = NoTrainInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    return FeatureNetwork("Inception-v3", _Inception(network), 2048, is_inception=True)


class _Inception(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def features(self, x: Tensor) -> Tensor:
        color = x.expand(-1, 3, -1, -1)  # of one channel three; three stay, others are refused by torch
        return self.network((255 * color).round().clamp(0, 255).to(torch.uint8))


def _check_images(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2 or len(x) == 0:
        found = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x: want floating (n_samples > 0, *sample_shape), got {found}")
    if not x.isfinite().all():
        raise ValueError(f"x: want finite values, got {int((~x.isfinite()).sum())} that are not")


def _check_examples(x: Tensor, y: Tensor) -> int:
    """The number of classes."""
    _check_images(x)
    if x.ndim not in (2, 4) or (x.ndim == 4 and any(side % 4 for side in x.shape[2:])):
        want = "(n_samples, size) or (n_samples, channels, height, width) with sides of 4·k"
        raise ValueError(f"x: want {want}, got {tuple(x.shape)}")
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.shape != x.shape[:1]:
        found = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"y: want int64 labels ({len(x)},), got {found}")
    present = y.unique()
    if len(present) < 2 or present[0] != 0 or present[-1] != len(present) - 1:
        raise ValueError(f"y: want each of the classes 0 ... n_classes - 1, two or more, got {present.tolist()[:20]}")
    return len(present)
