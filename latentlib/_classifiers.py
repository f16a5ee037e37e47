"""Small image classifiers whose features and logits are used: one trained here, two whose weights are public.

Each has features(x), what its head reads, and forward(x), class logits. Images are in [0, 1].
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the colors, as the weights were trained


class Classifier(nn.Module):
    """Body → features → linear head: features(x) (n, n_features) after the last nonlinearity, forward(x) logits."""

    def __init__(self, body: nn.Module, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(n_features, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """What the head reads, (n_samples, n_features)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits, (n_samples, n_classes)."""
        return self.head(self.body(x))


class CifarResNet(nn.Module):
    """Residual network of He et al. (2016) for 3 × 32 × 32: depth 6k + 2, widths 16, 32, 64, skips padded with zeros.

    Names and shapes of the weights are those of `pytorch_resnet_cifar10`. Features: the 64 spatial means before the
    head. Raises: ValueError for a depth that is not 6k + 2.
    """

    def __init__(self, depth: int = 20, n_classes: int = 10) -> None:
        super().__init__()
        if not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth: want 8, 14, 20, ... (6k + 2), got {depth!r}")
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        widths, n_blocks = (16, 16, 32, 64), (depth - 2) // 6
        for i in (1, 2, 3):
            first = _CifarBlock(widths[i - 1], widths[i])
            rest = (_CifarBlock(widths[i], widths[i]) for _ in range(n_blocks - 1))
            self.add_module(f"layer{i}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Spatial means, (n_samples, 64), of images in [0, 1]."""
        if x.shape[1:] != (3, 32, 32):
            raise ValueError(f"CifarResNet: want images (n_samples, 3, 32, 32), got {tuple(x.shape)}")
        mean, std = (x.new_tensor(values)[:, None, None] for values in (CIFAR_MEAN, CIFAR_STD))
        x = self.bn1(self.conv1((x - mean) / std)).relu()
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Class logits, (n_samples, n_classes)."""
        return self.linear(self.features(x))


class _CifarBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.stride, self.n_more = 1 if n_in == n_out else 2, n_out - n_in
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=self.stride, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        skip = x[:, :, :: self.stride, :: self.stride]
        around = (0, 0, 0, 0, self.n_more // 2, self.n_more - self.n_more // 2)  # channels of zeros, on both sides
        return (branch + nn.functional.pad(skip, around)).relu()


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max pooling: 1 × 28 × 28, resized to 32 × 32 as it was trained, to 84 features."""

    def __init__(self) -> None:
        super().__init__()
        self.convnet = nn.Sequential(
            OrderedDict(
                c1=nn.Conv2d(1, 6, 5), relu1=nn.ReLU(), s2=nn.MaxPool2d(2),
                c3=nn.Conv2d(6, 16, 5), relu3=nn.ReLU(), s4=nn.MaxPool2d(2),
                c5=nn.Conv2d(16, 120, 5), relu5=nn.ReLU(), flatten=nn.Flatten(),
            )
        )  # fmt: skip
        self.fc = nn.Sequential(OrderedDict(f6=nn.Linear(120, 84), relu6=nn.ReLU(), f7=nn.Linear(84, 10)))

    def features(self, x: Tensor) -> Tensor:
        """Hidden layer before the head, (n_samples, 84), of images in [0, 1]."""
        if x.ndim != 4 or x.shape[1] != 1 or x.shape[2:] not in ((28, 28), (32, 32)):
            raise ValueError(f"LeNet: want images (n_samples, 1, 28 or 32, as high), got {tuple(x.shape)}")
        x = nn.functional.interpolate(x, (32, 32), mode="bilinear", antialias=True)
        return self.fc.relu6(self.fc.f6(self.convnet(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Class logits, (n_samples, 10)."""
        return self.fc.f7(self.features(x))


def vector_body(x: Tensor, n_features: int) -> nn.Module:
    """Two layers for vectors like x, shifted and scaled as x is."""
    layers = nn.Linear(x.shape[1], n_features), nn.SiLU(), nn.Linear(n_features, n_features), nn.SiLU()
    return nn.Sequential(_Standardize(x), *layers)


def image_body(x: Tensor, n_features: int) -> nn.Module:
    """Two convolutions of stride 2 and a layer for images like x, shifted and scaled as x is."""
    size = 32 * (x.shape[2] // 4) * (x.shape[3] // 4)
    convolutions = nn.Conv2d(x.shape[1], 16, 4, 2, 1), nn.SiLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.SiLU()
    return nn.Sequential(_Standardize(x), *convolutions, nn.Flatten(), nn.Linear(size, n_features), nn.SiLU())


class _Standardize(nn.Module):
    """(x − mean)/std with one mean and one standard deviation, of all numbers in the training set."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        std, mean = torch.std_mean(x)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std if std > 0 else torch.ones_like(std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
