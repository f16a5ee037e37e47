"""Laws of the data sets: the same arrays from any container, or a refusal by name with expected and found value."""

import hashlib
import json
import os
import tarfile
from dataclasses import replace

import numpy as np
import official_files
import pytest
import torch

from latentlib import _decode, _install, _source, _sources, _spatial_split, datasets

real = pytest.mark.skipif(
    not os.environ.get("LATENTLIB_DATA"), reason="LATENTLIB_DATA is not set: tests on the real data sets are skipped"
)


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.fixture(autouse=True)
def own_folders(request, tmp_path, monkeypatch):
    """Each test has a cache of its own; only the tests on real data see LATENTLIB_DATA."""
    monkeypatch.setenv("LATENTLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if request.node.get_closest_marker("skipif") is None:
        monkeypatch.delenv("LATENTLIB_DATA", raising=False)


class Web:
    """The official sources, in small: the real formats on a local server, with their true MD5 sums in the tables."""

    def __init__(self, folder, monkeypatch, url, asked):
        self.folder, self.patch, self.url, self.asked = folder, monkeypatch, url, asked

    def publish(self, name, arrays=None, fingerprints=False):
        """Write the files of a set, tiny unless `arrays` are given, and let the tables point at them."""
        arrays = tiny(name) if arrays is None else arrays
        source = _sources.SOURCES[name]
        if name == "worldclim":
            land = np.unpackbits(arrays["landmask_packed"]).reshape(_source.WORLDCLIM_GRID).astype(bool)
            official_files.write_worldclim(self.folder / "wc2.1_10m_bio.zip", arrays["X"], land)
            self.patch.setattr(_decode, "WORLDCLIM_URL", self.url + "wc2.1_10m_bio.zip")
            sizes = {"all": len(arrays["X"])}
        else:
            {"idx": self._idx, "cifar": self._cifar}.get(source.decoder, self._two)(source, arrays)
            sizes = {split: len(arrays[f"x_{split}"]) for split in ("train", "test")}
        known = {key: sha256(array) for key, array in arrays.items()} if fingerprints else source.fingerprints
        self.patch.setitem(_sources.SOURCES, name, replace(source, n=sizes, fingerprints=known))
        return arrays

    def _idx(self, source, arrays):
        loader = _decode._torchvision_class(source)
        official_files.write_idx(self.folder, arrays)
        sums = [(name, official_files.md5(self.folder / name)) for name, _ in loader.resources]
        self.patch.setattr(loader, "resources", sums)
        self.patch.setattr(loader, "mirrors", [self.url + "absent/", self.url])  # the second mirror has them

    def _cifar(self, source, arrays):
        loader = _decode._torchvision_class(source)
        path = self.folder / loader.filename
        key = "fine_labels" if source.name == "cifar100" else "labels"
        sums = official_files.write_cifar(path, loader, arrays, key)
        self.patch.setattr(loader, "url", self.url + loader.filename)
        self.patch.setattr(loader, "tgz_md5", official_files.md5(path))
        self.patch.setattr(loader, "train_list", [[name, sums[name]] for name, _ in loader.train_list])
        self.patch.setattr(loader, "test_list", [[name, sums[name]] for name, _ in loader.test_list])
        self.patch.setattr(loader, "meta", loader.meta | {"md5": sums[loader.meta["filename"]]})

    def _two(self, source, arrays):
        loader = _decode._torchvision_class(source)
        {"svhn": official_files.write_svhn, "usps": official_files.write_usps}[source.decoder](self.folder, arrays)
        rows = {split: loader.split_list[split][1] for split in ("train", "test")}
        table = {split: [self.url + name, name, official_files.md5(self.folder / name)] for split, name in rows.items()}
        self.patch.setattr(loader, "split_list", table)


@pytest.fixture
def web(tmp_path, monkeypatch):
    (tmp_path / "web").mkdir()
    with official_files.served(tmp_path / "web") as (url, asked):
        yield Web(tmp_path / "web", monkeypatch, url, asked)


@pytest.fixture
def small_world(monkeypatch):
    for module in (_source, datasets):
        monkeypatch.setattr(module, "WORLDCLIM_GRID", (24, 48))


def tiny(name):
    """Random arrays in the layout of a set, a few samples of each split."""
    random, source = np.random.default_rng(5), _sources.SOURCES[name]
    if name == "worldclim":
        land = random.random(_source.WORLDCLIM_GRID) < 0.6
        return {"X": random.normal(size=(land.sum(), 19)).astype(np.float32), "landmask_packed": np.packbits(land)}
    arrays = {}
    for split, n in (("train", 25), ("test", 10)):
        pixels = random.integers(0, 256, (n, *source.shape), dtype=np.uint8)
        if source.dtype == "float32":  # in the official file: three decimals in [-1, 1]
            pixels = ((random.integers(-1000, 1001, pixels.shape) / 1000).astype(np.float32) + 1) / 2
        arrays |= {f"x_{split}": pixels, f"y_{split}": random.integers(0, 10, n, dtype=np.uint8)}
    return arrays


def write_archive(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


PICTURES = [
    "dtd", "dtd10", "places365", "lsun_crop", "lsun_resize", "isun", "celeba64", "galaxy_zoo64", "mars_mastcam",
    "imagenette", "imagenet_classes",
]  # fmt: skip
EMBEDDED = ["digits", "breast_cancer", "photo_patches"]
DOWNLOADS = ["mnist", "fashion_mnist", "kmnist", "usps", "cifar10", "cifar100", "svhn"]


@pytest.mark.parametrize("name", DOWNLOADS)
def test_load_downloads_decodes_and_verifies_the_official_format(name, web, tmp_path):
    arrays = web.publish(name, fingerprints=name in ("mnist", "usps", "cifar10"))
    if name == "kmnist":  # its published fingerprints are those of the real test set
        web.patch.setitem(_sources.SOURCES, name, replace(_sources.SOURCES[name], fingerprints={}))
    for split in ("train", "test"):
        data = datasets.load(name, split)
        assert np.array_equal(data.x.numpy(), arrays[f"x_{split}"]) and data.x.numpy().dtype == arrays["x_train"].dtype
        assert data.y.dtype == torch.int64 and np.array_equal(data.y.numpy(), arrays[f"y_{split}"])
        assert data.licence and data.citation and len(data) == len(arrays[f"x_{split}"])
    whole = datasets.load(name, "all")
    assert np.array_equal(whole.x.numpy(), np.concatenate([arrays["x_train"], arrays["x_test"]]))
    requests = len(web.asked)
    datasets.load(name)
    assert len(web.asked) == requests > 0
    recorded = json.loads((tmp_path / "cache" / f"{name}.sha256.json").read_text())
    assert recorded == {key: sha256(array) for key, array in arrays.items()}
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [f"{name}.npz", f"{name}.sha256.json"]


def test_load_worldclim_reads_geotiffs_and_splits_by_blocks(web, small_world):
    arrays = web.publish("worldclim", fingerprints=True)
    whole = datasets.load("worldclim", "all")
    assert np.array_equal(whole.x.numpy(), arrays["X"])
    assert whole.y is None and len(whole.feature_names) == 19
    land = np.unpackbits(arrays["landmask_packed"]).reshape(24, 48).astype(bool)
    rows, columns = torch.from_numpy(np.stack(np.nonzero(land))).double()
    assert torch.allclose(whole.latitude, 90 - (rows + 0.5) * 7.5)
    assert torch.allclose(whole.longitude, (columns + 0.5) * 7.5 - 180)
    assert torch.allclose(whole.weights, torch.cos(torch.deg2rad(whole.latitude)))
    parts = [datasets.load("worldclim", split, seed=3) for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(whole)
    assert "our own split" in parts[0].note and "/".join(str(len(part)) for part in parts) in parts[0].note
    blocks = [set(part.block.tolist()) for part in parts]
    assert not (blocks[0] & blocks[1] or blocks[0] & blocks[2] or blocks[1] & blocks[2])
    assert torch.equal(datasets.load("worldclim", "val", seed=3).x, parts[1].x)
    assert set(datasets.load("worldclim", "val", seed=4).block.tolist()) != blocks[1]


def test_load_takes_official_files_lying_in_a_folder(web, tmp_path):
    arrays = web.publish("fashion_mnist")
    (tmp_path / "root" / "fashion_mnist").mkdir(parents=True)
    for path in web.folder.iterdir():
        path.rename(tmp_path / "root" / "fashion_mnist" / path.name)
    assert np.array_equal(datasets.load("fashion_mnist", root=tmp_path / "root").x.numpy(), arrays["x_train"])
    assert web.asked == [] and (tmp_path / "root" / "fashion_mnist.npz").is_file()


@pytest.mark.parametrize("damage", ["truncate", "flip"])
@pytest.mark.parametrize("place", ["web", "folder"])
def test_load_refuses_a_damaged_official_file(web, tmp_path, damage, place):
    web.publish("cifar100")
    path = web.folder / "cifar-100-python.tar.gz"
    expected, content = official_files.md5(path), bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content if damage == "flip" else content[:5000])
    found = official_files.md5(path)
    if place == "folder":
        (tmp_path / "cache" / "cifar100").mkdir(parents=True)
        path.rename(tmp_path / "cache" / "cifar100" / path.name)
    with pytest.raises((ValueError, FileNotFoundError)) as refusal:
        datasets.load("cifar100")
    assert all(word in str(refusal.value) for word in (path.name, expected, found))
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.name != "cifar100"] == []


def test_load_refuses_other_content_under_a_published_fingerprint(web, tmp_path):
    """The archive matches its MD5, but the decoded arrays are not MNIST: nothing is installed."""
    arrays = web.publish("mnist")
    with pytest.raises(ValueError) as refusal:
        datasets.load("mnist")
    published = "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"
    assert f"array 'x_train': expected SHA-256 {published}, found {sha256(arrays['x_train'])}" in str(refusal.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_load_refuses_official_files_of_another_shape(web, tmp_path):
    web.publish("fashion_mnist")
    source = _sources.SOURCES["fashion_mnist"]
    web.patch.setitem(_sources.SOURCES, "fashion_mnist", replace(source, n={"train": 26, "test": 10}))
    with pytest.raises(ValueError, match=r"'x_train': expected shape \(26, 28, 28\) and uint8, found \(25, 28, 28\)"):
        datasets.load("fashion_mnist")
    assert list((tmp_path / "cache").iterdir()) == []


def test_load_says_what_is_there_and_why_the_download_failed(web, tmp_path):
    arrays = web.publish("kmnist", fingerprints=True)
    for path in web.folder.iterdir():
        path.unlink()
    archive = write_archive(tmp_path / "cache" / "kmnist_test.npz", {k: arrays[k] for k in ("x_test", "y_test")})
    assert np.array_equal(datasets.load("kmnist", "test").x.numpy(), arrays["x_test"])
    message = rf"kmnist: want split 'train', got {archive} holds test in {archive.parent}"
    with pytest.raises(FileNotFoundError, match=message + r".*could not be downloaded: http://.*404") as refusal:
        datasets.load("kmnist", "train")
    assert web.url + "absent/train-images-idx3-ubyte.gz" in str(refusal.value)
    web.asked.clear()
    with pytest.raises(FileNotFoundError, match=message):
        datasets.load("kmnist", "train", download=False)
    assert web.asked == []


@pytest.mark.parametrize("crash_at", ["record", "archive"])
def test_install_that_crashes_leaves_nothing_that_loads(web, tmp_path, monkeypatch, crash_at):
    arrays = web.publish("fashion_mnist")
    replace_file = os.replace

    def crash(source, target):
        if str(target).endswith("json" if crash_at == "record" else "npz"):
            raise KeyboardInterrupt
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("fashion_mnist")
    monkeypatch.setattr(os, "replace", replace_file)
    assert not (tmp_path / "cache" / "fashion_mnist.npz").exists()
    with pytest.raises(FileNotFoundError, match="want split 'train', got no archive"):
        datasets.load("fashion_mnist", download=False)
    assert np.array_equal(datasets.load("fashion_mnist").x.numpy(), arrays["x_train"])


def test_load_ignores_the_folder_of_a_killed_install(web, tmp_path):
    """SIGKILL leaves the scratch folder; what lies in it never counts as the data set."""
    arrays = web.publish("fashion_mnist")
    write_archive(tmp_path / "cache" / "fashion_mnist-x1.partial" / "fashion_mnist.npz", arrays)
    with pytest.raises(FileNotFoundError, match="got no archive"):
        datasets.load("fashion_mnist", download=False)


def test_install_never_writes_by_the_names_of_an_archive(web, tmp_path):
    arrays = web.publish("cifar10", fingerprints=True)
    loader = _decode._torchvision_class(_sources.SOURCES["cifar10"])
    path = web.folder / loader.filename
    with tarfile.open(path, "a") as archive:
        official_files.add_member(archive, "../../escaped", b"x")
        official_files.add_member(archive, str(tmp_path / "absolute"), b"x")
    web.patch.setattr(loader, "tgz_md5", official_files.md5(path))
    assert np.array_equal(datasets.load("cifar10").x.numpy(), arrays["x_train"])
    assert not list(tmp_path.rglob("escaped")) and not (tmp_path / "absolute").exists()


def test_install_unpickles_no_batch_of_another_md5(web, tmp_path):
    web.publish("cifar10")
    loader = _decode._torchvision_class(_sources.SOURCES["cifar10"])
    web.patch.setattr(loader, "test_list", [["test_batch", "0" * 32]])
    web.patch.setattr("pickle.load", lambda *_, **__: pytest.fail("unpickled before the MD5 was checked"))
    with pytest.raises(ValueError, match="cifar-10-python.tar.gz cannot be decoded: Dataset not found or corrupted"):
        datasets.load("cifar10")


def damaged(path, arrays, damage):
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":  # in the pixels of x_train: np.savez stores them as they are
        content[content.find(arrays["x_train"].tobytes()) + 700] ^= 1
        path.write_bytes(content)
    elif damage == "other content":
        write_archive(path, arrays | {"x_train": arrays["x_train"] ^ 1})
    elif damage == "shape":
        write_archive(path, arrays | {"x_train": arrays["x_train"][:-1]})
    elif damage == "dtype":
        write_archive(path, arrays | {"x_train": arrays["x_train"].astype(np.int16)})
    elif damage == "pickle":
        write_archive(path, arrays | {"x_train": np.array([{}], dtype=object)})
    elif damage == "text":
        path.write_text("<html>not found</html>")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncate", r"mnist.npz: want a NumPy archive, got a truncated or foreign file"),
        ("flip", r"mnist.npz: array 'x_train': (want a whole file|expected SHA-256 {old}, found)"),
        ("other content", r"mnist.npz: array 'x_train': expected SHA-256 {old}, found {new}"),
        ("shape", r"mnist.npz: array 'x_train': expected shape \(25, 28, 28\) and uint8, found \(24, 28, 28\) and"),
        ("dtype", r"mnist.npz: array 'x_train': expected shape \(25, 28, 28\) and uint8, found .* and int16"),
        ("pickle", r"mnist.npz: array 'x_train': want a whole file.*[Oo]bject arrays"),
        ("text", r"mnist.npz: want a NumPy archive, got a truncated or foreign file"),
    ],
)
def test_load_and_check_refuse_a_damaged_archive(web, tmp_path, damage, message):
    arrays = web.publish("mnist", fingerprints=True)
    path = write_archive(tmp_path / "cache" / "mnist.npz", arrays)
    assert datasets.check("mnist") == {str(path): {key: sha256(array) for key, array in arrays.items()}}
    damaged(path, arrays, damage)
    message = message.format(old=sha256(arrays["x_train"]), new=sha256(arrays["x_train"] ^ 1))
    for refuse in (datasets.load, datasets.check):
        with pytest.raises(ValueError, match=message):
            refuse("mnist")


def test_load_refuses_an_installed_archive_that_changed(web, tmp_path):
    """No fingerprint of Fashion-MNIST is published: the one recorded at installation is what counts."""
    arrays = web.publish("fashion_mnist")
    datasets.load("fashion_mnist")
    other = arrays["x_train"] ^ 1
    path = write_archive(tmp_path / "cache" / "fashion_mnist.npz", arrays | {"x_train": other})
    with pytest.raises(ValueError, match=f"expected SHA-256 {sha256(arrays['x_train'])}, found {sha256(other)}"):
        datasets.load("fashion_mnist")
    path.with_suffix(".sha256.json").write_text('{"x_train": ')
    with pytest.raises(ValueError, match="fashion_mnist.sha256.json: want a table of fingerprints"):
        datasets.load("fashion_mnist")
    path.with_suffix(".sha256.json").unlink()
    with pytest.raises(ValueError, match="expected a fingerprint, found none published .* train-images-idx3-ubyte.gz"):
        datasets.load("fashion_mnist")


def test_load_lets_no_record_overrule_a_published_fingerprint(web, tmp_path):
    arrays = web.publish("mnist", fingerprints=True)
    other = arrays | {"x_train": arrays["x_train"] ^ 1}
    path = write_archive(tmp_path / "cache" / "mnist.npz", other)
    path.with_suffix(".sha256.json").write_text(json.dumps({key: sha256(array) for key, array in other.items()}))
    with pytest.raises(ValueError, match=f"expected SHA-256 {sha256(arrays['x_train'])}, found"):
        datasets.load("mnist")


def test_load_looks_in_root_alone_else_in_data_before_cache(web, tmp_path, monkeypatch):
    arrays = web.publish("mnist", fingerprints=True)
    for folder in ("root", "data", "cache"):
        write_archive(tmp_path / folder / "mnist.npz", arrays)
    monkeypatch.setenv("LATENTLIB_DATA", str(tmp_path / "data"))
    where = lambda root: next(row["where"] for row in datasets.catalogue(root) if row["name"] == "mnist")  # noqa: E731
    assert where(tmp_path / "root") == str(tmp_path / "root" / "mnist.npz")
    assert where(None) == f"{tmp_path / 'data' / 'mnist.npz'}, {tmp_path / 'cache' / 'mnist.npz'}"
    (tmp_path / "data" / "mnist.npz").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="mnist.npz: want a NumPy archive"):  # never passed over in silence
        datasets.load("mnist")
    assert datasets.load("mnist", root=tmp_path / "root").shape == (25, 28, 28)


def test_load_embedded_sets_are_those_of_scikit_learn():
    from sklearn.datasets import load_breast_cancer, load_digits

    for name, bunch in (("digits", load_digits()), ("breast_cancer", load_breast_cancer())):
        data = datasets.load(name)
        assert torch.equal(data.x, torch.from_numpy(bunch.data.astype(np.float32)))
        assert torch.equal(data.y, torch.from_numpy(bunch.target.astype(np.int64)))
        assert torch.equal(datasets.load(name, "all").x, data.x)
        assert set(datasets.check(name)) == {"scikit-learn"} and datasets.install(name) is None


def test_load_photo_patches_are_the_sample_photographs_of_scikit_learn():
    from sklearn.datasets import load_sample_images

    data = datasets.load("photo_patches")
    assert data.shape == (520, 32, 32, 3) and data.y.bincount().tolist() == [260, 260]
    pictures = [torch.from_numpy(picture.copy()) for picture in load_sample_images().images]
    for picture, patches in zip(pictures, data.x.split(260), strict=True):
        rows = [torch.cat(list(patches[20 * row : 20 * row + 20]), 1) for row in range(13)]  # 13 rows of 20 patches
        assert torch.equal(torch.cat(rows), picture[:416, :640])
    assert set(datasets.check("photo_patches")) == {"scikit-learn"} and datasets.install("photo_patches") is None
    found = datasets.load_ood(["photo_patches"], size=8, channels=1).images["photo_patches"]
    assert found.shape == (520, 1, 8, 8) and 0 <= found.min() < found.max() <= 1


def test_catalogue_has_every_set_with_licence_and_source():
    rows = datasets.catalogue()
    assert {row["name"] for row in rows} == {*DOWNLOADS, *PICTURES, *EMBEDDED, "worldclim"}
    assert all(row["licence"] and row["source"].startswith("http") and row["n_samples"] for row in rows)
    assert [row["where"] for row in rows if row["name"] in ("digits", "mnist")] == ["in scikit-learn", "not here"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.load("mnits"), r"want the name of a data set or a file .*'mnits'; did you mean 'mnist'\?"),
        (lambda: datasets.load("mnist", "val"), r"mnist: want split 'train' or 'test' or 'all', got 'val'"),
        (lambda: datasets.load("digits", "test"), r"digits: want split 'train' or 'all', got 'test'"),
        (lambda: datasets.check("cifar"), r"want the name of a data set, got 'cifar'; did you mean 'cifar1"),
        (lambda: datasets.standardize(torch.zeros(3)), r"x: want \(n_samples > 0, n_features > 0\), got \(3,\)"),
        (
            lambda: datasets.standardize(torch.tensor([[1.0, torch.nan]])),
            r"x: want finite values, got nan in row 0, column 1",
        ),
        (
            lambda: datasets.standardize(torch.ones(2, 3), train=torch.ones(2, 4)),
            r"standardize: want 4 columns as in train, got 3",
        ),
        (lambda: datasets.covariance(torch.ones(4, 2), torch.ones(3)), r"want 4 weights, .*, got shape \(3,\)"),
        (lambda: datasets.covariance(torch.ones(2, 2), torch.tensor([1.0, -1])), r"want 2 weights, finite, ≥ 0"),
        (lambda: datasets.covariance(torch.ones(2, 2), torch.zeros(2)), r"want 2 weights, .* not all 0"),
        (lambda: datasets.load("digits").images(), r"digits: want images \(n, height, width\[, channels\]\)"),
    ],
)
def test_datasets_bad_input_names_wanted_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_check_says_where_it_looked(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"cifar10: want split 'any', got no archive in {tmp_path}/cache"):
        datasets.check("cifar10")


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "parquet"])
def test_load_file_returns_the_array_of_any_format(tmp_path, suffix):
    import pandas

    x, y, path = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0]), tmp_path / f"own.{suffix}"
    if suffix == "npz":
        np.savez(path, x=x, y=y, other=x[:2])
    elif suffix == "npy":
        np.save(path, x)
    else:
        table = pandas.DataFrame(x, columns=["a", "b", "c"]).assign(y=y)
        table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    data = datasets.load(path)
    assert torch.equal(data.x, torch.from_numpy(x)) and data.name == "own"
    assert data.y is None if suffix == "npy" else torch.equal(data.y, torch.from_numpy(y))


def test_load_file_takes_x_then_split_then_the_only_array(tmp_path):
    path = tmp_path / "own.npz"
    a, b = np.zeros((2, 3), np.float32), np.ones((4, 3), np.uint8)
    np.savez(path, x_train=a, x_test=b)
    assert datasets.load(path, "test").x.dtype == torch.uint8 and datasets.load(str(path)).shape == (2, 3)
    np.savez(path, whatever=b.astype(np.int64))
    assert datasets.load(path).x.dtype == torch.float32
    np.savez(path, X=a, other=b)
    assert datasets.load(path).shape == (2, 3)


@pytest.mark.parametrize(
    ("arrays", "split", "message"),
    [
        ({"a": np.ones((2, 2)), "b": np.ones((2, 2))}, "train", r"want an array named 'x' or 'X', .* \['a', 'b'\]"),
        ({"x": np.ones((2, 2))}, "test", r"want array 'x_test' for split 'test', got \['x'\]"),
        ({"x": np.array([[1.0, np.nan]])}, "train", r"want finite values, got nan at \(0, 1\)"),
        ({"x": np.array([["a", "b"]])}, "train", r"want real numbers in x, got dtype <U1"),
        ({"x": np.array([[{}]], dtype=object)}, "train", r".* without pickled objects, got: Object arrays"),
        ({"x": np.ones(3)}, "train", r"want x of shape \(n_samples, ...\), got \(3,\)"),
        ({"x": np.ones((3, 2)), "y": np.ones(2)}, "train", r"want as many y as x, got 2 and 3"),
        ({"x": np.ones((1, 2)), "y": np.array(["a"])}, "train", r"want real numbers in y, got dtype <U1"),
    ],
)
def test_load_file_names_what_it_holds_instead(tmp_path, arrays, split, message):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(ValueError, match="own.npz: " + message):
        datasets.load(tmp_path / "own.npz", split)


def test_load_file_refuses_words_truncation_and_absence(tmp_path):
    (tmp_path / "own.csv").write_text("a,b\n1,red\n2,blue\n")
    with pytest.raises(ValueError, match=r"own.csv: want numeric columns \(and y\), got words in \['b'\]"):
        datasets.load(tmp_path / "own.csv")
    np.savez(tmp_path / "own.npz", x=np.ones((50, 50)))
    (tmp_path / "own.npz").write_bytes((tmp_path / "own.npz").read_bytes()[:3000])
    with pytest.raises(ValueError, match="own.npz: want a whole NumPy file"):
        datasets.load(tmp_path / "own.npz")
    (tmp_path / "own.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="own.parquet: want a parquet table"):
        datasets.load(tmp_path / "own.parquet")
    with pytest.raises(FileNotFoundError, match="absent.npy"):
        datasets.load(tmp_path / "absent.npy")


def test_dataset_matrix_and_images_scale_gray_levels(web):
    arrays = web.publish("cifar10", fingerprints=True)
    data = datasets.load("cifar10")
    assert data.matrix().shape == (25, 3072) and data.images().shape == (25, 3, 32, 32)
    assert torch.equal(data.images()[3, 2, 5, 7], torch.tensor(arrays["x_train"][3, 5, 7, 2]).float() / 255)
    assert torch.equal(data.matrix()[3, :3], torch.tensor(arrays["x_train"][3, 0, 0]).float() / 255)


def test_standardize_gives_mean_zero_variance_one_by_train_statistics(generator):
    std, mean = torch.tensor([1e-3, 1.0, 50.0, 0.0]), torch.tensor([5.0, 0.0, 9.0, 0.1])
    train = torch.randn(500, 4, generator=generator) * std + mean
    z = datasets.standardize(train)
    assert z.dtype == torch.float64
    # Float64 rounding of means of 500 values; a mean of 5 with std 1e-3 loses a factor 5e3: 2e-16·5e3·√500 < 1e-10.
    assert torch.allclose(z.mean(0), torch.zeros(4).double(), atol=1e-10)
    assert torch.allclose(z.var(0, correction=0), torch.tensor([1.0, 1, 1, 0]).double(), atol=1e-10)
    assert (z[:, 3] == 0).all()  # constant: centred, not scaled by its rounding error
    other = datasets.standardize(train[:10] + 1, train=train)
    shift = 1 / train.double().std(0, correction=0)
    assert torch.allclose(other[:, :3] - z[:10, :3], shift[:3].expand(10, 3), rtol=1e-3)  # + 1 is rounded in float32
    assert torch.allclose(other[:, 3], torch.ones(10).double(), rtol=1e-6)


def test_covariance_is_maximum_likelihood_and_symmetric(generator):
    x = torch.randn(20_000, 3, generator=generator) @ torch.randn(3, 3, generator=generator) + 100
    found = datasets.covariance(x)
    expected = torch.cov(x.double().T, correction=0)
    # Float64 sums of 2e4 terms of size 1 about a mean of 100 that is known to 1e-14·100: 1e-10 is ample.
    assert found.dtype == torch.float64 and torch.equal(found, found.T)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_covariance_with_integer_weights_repeats_the_rows(generator):
    x, counts = torch.randn(50, 3, generator=generator), torch.randint(0, 4, (50,), generator=generator)
    repeated = datasets.covariance(x.repeat_interleave(counts, 0))
    assert torch.allclose(datasets.covariance(x, counts), repeated, rtol=0, atol=1e-14)
    assert torch.allclose(datasets.covariance(x, 7.5 * counts), repeated, rtol=0, atol=1e-14)


def test_equal_area_blocks_have_equal_area():
    """Cells fill the sphere: the area of the blocks not cut by the poles or the date line is 500² km²."""
    latitude, longitude = _spatial_split.cells(np.ones((720, 1440), bool))
    block = _spatial_split.equal_area_blocks(latitude, longitude)
    radius = _spatial_split.EARTH_RADIUS_KM
    area = radius**2 * np.radians(0.25) * 2 * np.sin(np.radians(0.125)) * np.cos(np.radians(latitude))
    by_block = np.bincount(block, area)
    assert np.isclose(by_block.sum(), 4 * np.pi * radius**2, rtol=1e-12)
    inner = (np.abs(latitude) < 60) & (np.abs(longitude) < 165)
    whole = np.setdiff1d(block[inner], block[~inner])
    # A cell belongs to one block by its centre: half a row (14 km at most of 500) and half a column on each side.
    assert len(whole) > 500 and np.abs(by_block[whole] / 500**2 - 1).max() < 0.13
    assert abs(by_block[whole].mean() / 500**2 - 1) < 0.01


def test_split_blocks_keeps_blocks_whole_and_shares_within_one_block():
    random = np.random.default_rng(0)
    block = np.repeat(np.arange(300), random.integers(1, 60, 300))
    shares = {"train": 6, "val": 2, "test": 2}
    parts = _spatial_split.split_blocks(block, shares, seed=1)
    rows = np.concatenate(list(parts.values()))
    assert np.array_equal(np.sort(rows), np.arange(len(block)))
    assert sum(len(np.unique(block[part])) for part in parts.values()) == 300
    assert all(abs(len(parts[name]) - shares[name] / 10 * len(block)) < 60 for name in shares)
    with pytest.raises(ValueError, match="want more blocks than splits, got 2 blocks for 3 splits"):
        _spatial_split.split_blocks(np.array([0, 0, 1]), shares, seed=0)


REAL = {
    "mnist": {"train": (60_000, 28, 28), "test": (10_000, 28, 28)}, "kmnist": {"test": (10_000, 28, 28)},
    "usps": {"train": (7291, 256), "test": (2007, 256)}, "svhn": {"crops": (10_000, 32, 32, 3)},
    "cifar10": {"train": (50_000, 32, 32, 3), "test": (10_000, 32, 32, 3)}, "worldclim": {"all": (808_053, 19)},
}


@real
@pytest.mark.parametrize("name", REAL)
def test_load_real_set_matches_its_fingerprint(name):
    for split, shape in REAL[name].items():
        data = datasets.load(name, split, download=False)
        assert data.shape == shape
        assert data.y is None or (len(data.y) == len(data) and set(data.y.unique().tolist()) == set(range(10)))


@real
@pytest.mark.parametrize("name", ["mnist", "usps", "cifar10", "worldclim"])
def test_install_real_arrays_in_the_official_format_have_the_published_fingerprint(name, web, tmp_path):
    """Real arrays, written in the official format, served and decoded: the fingerprint of the tables comes back."""
    with np.load(_install.archives(_sources.SOURCES[name])[0]) as archive:
        arrays = dict(archive)
    web.publish(name, arrays)
    path = datasets.install(name, tmp_path / "own")
    assert datasets.check(name, tmp_path / "own") == {str(path): _sources.SOURCES[name].fingerprints}


@real
def test_load_worldclim_shares_and_spectrum_are_the_known_ones():
    whole = datasets.load("worldclim", "all", download=False)
    # Published shares of cells; a cut misses by half a block at most, and no block has more than 3424 cells.
    for split, published in {"train": 499_599, "val": 153_897, "test": 154_027}.items():
        share = len(datasets.load("worldclim", split, download=False)) / 808_053
        assert abs(share - published / 807_523) <= 3424 / 808_053
    assert torch.bincount(whole.block).max() == 3424
    assert abs((whole.latitude < -60).double().mean() - 0.275) < 5e-4
    spectrum = torch.linalg.eigvalsh(datasets.covariance(datasets.standardize(whole.x))).flip(0) / 19
    # The PCA shares of ranks 17 and 18, to the digits known; BIO7 = BIO5 − BIO6 makes the last one 0 to rounding.
    assert abs(spectrum[16] - 9.9e-6) < 5e-8 and abs(spectrum[17] - 2.7e-6) < 5e-8 and abs(spectrum[18]) < 1e-14
