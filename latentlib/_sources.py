"""What the sets of fixed arrays are: splits, shape, licence, citation, source, fingerprints of the decoded arrays."""

from latentlib._image_sets import IMAGE_SETS
from latentlib._source import Source

WORLDCLIM_URL = "https://geodata.ucdavis.edu/climate/worldclim/2_1/base/wc2.1_10m_bio.zip"
WORLDCLIM_TIFS = tuple(f"wc2.1_10m_bio_{k}.tif" for k in range(1, 20))
# Sizes of the split published with the spectral-pruning run; they sum to 807 523, 530 short of the 808 053 cells.
WORLDCLIM_PUBLISHED_SPLIT = {"train": 499_599, "val": 153_897, "test": 154_027}
BIOCLIMATIC_NAMES = (
    "annual mean temperature", "mean diurnal range", "isothermality", "temperature seasonality",
    "max temperature of warmest month", "min temperature of coldest month", "temperature annual range",
    "mean temperature of wettest quarter", "mean temperature of driest quarter", "mean temperature of warmest quarter",
    "mean temperature of coldest quarter", "annual precipitation", "precipitation of wettest month",
    "precipitation of driest month", "precipitation seasonality", "precipitation of wettest quarter",
    "precipitation of driest quarter", "precipitation of warmest quarter", "precipitation of coldest quarter",
)

_IMAGES = {"shape": (28, 28), "dtype": "uint8", "decoder": "idx", "n": {"train": 60_000, "test": 10_000}}
_CIFAR = {"shape": (32, 32, 3), "dtype": "uint8", "decoder": "cifar", "n": {"train": 50_000, "test": 10_000}}
_CIFAR_SOURCE = {
    "homepage": "https://www.cs.toronto.edu/~kriz/cifar.html",
    "licence": "none stated; cite the technical report",
    "citation": "Krizhevsky, Learning multiple layers of features from tiny images, technical report (2009)",
}
_ALL = (
    Source(
        name="digits", n={"train": 1797}, shape=(64,), dtype="float32", decoder="sklearn", licence="CC BY 4.0",
        homepage="https://archive.ics.uci.edu/dataset/80", citation="Alpaydin and Kaynak, UCI repository (1998)",
        fingerprints={
            "x": "a627aed550b0b29bf76a981bc1ecbab5ef775aac454c94154f20ec9f61a04c83",
            "y": "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0",
        },
    ),
    Source(
        name="breast_cancer", n={"train": 569}, shape=(30,), dtype="float32", decoder="sklearn", licence="CC BY 4.0",
        homepage="https://archive.ics.uci.edu/dataset/17",
        citation="Wolberg, Mangasarian, Street and Street, UCI repository (1995)",
        fingerprints={
            "x": "ace340f3a4f8924791b9c5559e8492e9a896f29b3332f303863c6b46256ad45a",
            "y": "9d6ceae78443535169ef00f2c8012032241393c09a9adb2f9e82c55e1ba534bd",
        },
    ),
    Source(
        name="photo_patches", n={"train": 520}, shape=(32, 32, 3), dtype="uint8", decoder="sklearn", ood_split="train",
        homepage="https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_sample_images.html",
        licence="CC BY 2.0", citation="photographs by danielbuechele and vultilion, in scikit-learn",
        note="260 patches of each of two photographs, a temple (0) and a flower (1), from JPEG, row by row",
    ),
    Source(
        name="mnist", **_IMAGES, torchvision_class="MNIST", homepage="http://yann.lecun.com/exdb/mnist/",
        licence="CC BY-SA 3.0 as usually stated",
        citation="LeCun, Bottou, Bengio and Haffner, Proc. IEEE 86, 2278 (1998)",
        fingerprints={
            "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        },
    ),
    Source(
        name="fashion_mnist", **_IMAGES, torchvision_class="FashionMNIST", licence="MIT",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        citation="Xiao, Rasul and Vollgraf, arXiv:1708.07747 (2017)",
    ),
    Source(
        name="kmnist", **_IMAGES, torchvision_class="KMNIST", licence="CC BY-SA 4.0",
        other_archives=("kmnist_test.npz",),
        homepage="http://codh.rois.ac.jp/kmnist/", citation="Clanuwat et al., arXiv:1812.01718 (2018)",
        fingerprints={
            "x_test": "dc10e73c6e83fb3fb3586eafece217ab6602e7825fa7d49399359bde3fc66f07",
            "y_test": "77d83a49ca5434c5da77399edc7143065cb3a7b0834e2898ea3094e8c2b21a3c",
        },
    ),
    Source(
        name="usps", n={"train": 7291, "test": 2007}, shape=(256,), dtype="float32", decoder="usps",
        licence="not stated", torchvision_class="USPS", citation="Hull, IEEE Trans. PAMI 16, 550 (1994)",
        homepage="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        fingerprints={
            "x_train": "a5facc7dea2dff335ea771cee5ea1179d90a25b307fe51fffd03293786c4913a",
            "y_train": "ee5027fd47b76715ac18ca27e72fa1332bde98e0b8ce593b503bb2bdb6c03da0",
            "x_test": "a13227ce51400bfd1f9dff0d4c8eafdf8692958514ac093db43bf6981eea73cb",
            "y_test": "0b8b792b8ca1c5c704fd9d5bbd1b261623a359e6c8c65b23db428257beea7800",
        },
    ),
    Source(
        name="cifar10", **_CIFAR, **_CIFAR_SOURCE, torchvision_class="CIFAR10",
        fingerprints={
            "x_train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            "y_train": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            "x_test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
            "y_test": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
        },
    ),
    Source(name="cifar100", **_CIFAR, **_CIFAR_SOURCE, torchvision_class="CIFAR100"),
    Source(
        name="svhn", n={"train": 73_257, "test": 26_032, "crops": 10_000}, shape=(32, 32, 3), dtype="uint8",
        decoder="svhn", torchvision_class="SVHN", homepage="http://ufldl.stanford.edu/housenumbers/",
        licence="non-commercial use",
        citation="Netzer et al., NIPS workshop on deep learning (2011)", other_archives=("svhn32_10k.npz",),
        # `crops`: 10 000 digits cut by a square box from the format-1 training pictures; not rows of train_32x32.mat.
        fingerprints={
            "x": "a5a1b928cbd3ccc50b59922e9eed7217eb67c679a543b698be3af4ed56faa7fd",
            "y": "e375fbe61d5b8ddff0a2085e4f93f414e72d4e0c185eb3ebd1f20a4f6057bdf5",
        },
    ),
    Source(
        name="worldclim", n={"all": 808_053}, shape=(19,), dtype="float32", decoder="worldclim",
        homepage="https://www.worldclim.org/data/worldclim21.html", other_archives=("worldclim21_10m_bio19.npz",),
        licence="academic and other non-commercial use, no redistribution",
        citation="Fick and Hijmans, Int. J. Climatology 37, 4302 (2017); version 2.1, 10 arc-minutes",
        fingerprints={
            "X": "167d86caa24075556255ae25d48cff1971e1cac0eb321bb3f893d32805638542",
            "landmask_packed": "8829cab85c17bae80408299663b25d4bd374c9b42cf3dbc3e4f48a39ed27eb19",
        },
    ),
)
SOURCES = {source.name: source for source in (*_ALL, *IMAGE_SETS)}
