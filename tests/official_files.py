"""Writers of the official formats, and a web server for them: what the tests of the data sets download."""

import bz2
import gzip
import hashlib
import io
import pickle
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@contextmanager
def served(folder: Path):
    """The address of a server for `folder`, and the list of the paths that were asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))  # seconds between looks for a shutdown
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write_idx(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Four gzipped idx files, as of MNIST: big-endian magic number, sizes, bytes."""
    for split, prefix in (("train", "train"), ("test", "t10k")):
        for key, suffix in (("x", "images-idx3-ubyte"), ("y", "labels-idx1-ubyte")):
            array = arrays[f"{key}_{split}"]
            header = np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes()
            (folder / f"{prefix}-{suffix}.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))


def write_cifar(path: Path, loader, arrays: dict[str, np.ndarray], label_key: str) -> dict[str, str]:
    """A tar of pickled batches; MD5 of each batch by its name."""
    sums, members = {}, {}
    for split, names in (("train", [n for n, _ in loader.train_list]), ("test", [n for n, _ in loader.test_list])):
        parts = zip(names, *(np.array_split(arrays[f"{k}_{split}"], len(names)) for k in "xy"), strict=True)
        for name, x, y in parts:
            rows = np.ascontiguousarray(x.transpose(0, 3, 1, 2)).reshape(len(x), -1)
            members[name] = pickle.dumps({"data": rows, label_key: y.tolist()})
    members[loader.meta["filename"]] = pickle.dumps({loader.meta["key"]: [f"class {i}" for i in range(10)]})
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            add_member(archive, f"{loader.base_folder}/{name}", content)
            sums[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return sums


def add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_svhn(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """MATLAB files: X (32, 32, 3, n), y (n, 1) with 10 for the digit 0."""
    from scipy.io import savemat

    for split in ("train", "test"):
        y = arrays[f"y_{split}"].astype(np.uint8)
        content = {"X": arrays[f"x_{split}"].transpose(1, 2, 3, 0), "y": np.where(y == 0, 10, y)[:, None]}
        savemat(folder / f"{split}_32x32.mat", content)


def write_usps(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """LIBSVM text: label 1…10, then index:value with values in [-1, 1], three decimals."""
    for split, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        lines = []
        for x, y in zip(arrays[f"x_{split}"], arrays[f"y_{split}"], strict=True):
            values = np.round(x.astype(np.float64) * 2000 - 1000).astype(int) / 1000
            lines.append(f"{y + 1} " + " ".join(f"{k}:{value:g}" for k, value in enumerate(values, 1)))
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode() + b"\n", 1))


def write_worldclim(path: Path, x: np.ndarray, land: np.ndarray) -> None:
    """A zip of 19 GeoTIFFs, -3.4e38 where there is no land."""
    import rasterio
    from rasterio.transform import from_origin

    height, width = land.shape
    profile = {
        "driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "float32", "nodata": -3.4e38,
        "crs": "EPSG:4326", "transform": from_origin(-180, 90, 360 / width, 180 / height),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(19):
            band = np.full(land.shape, -3.4e38, np.float32)
            band[land] = x[:, k]
            with rasterio.MemoryFile() as memory:
                with memory.open(**profile) as tif:
                    tif.write(band, 1)
                archive.writestr(f"wc2.1_10m_bio_{k + 1}.tif", memory.read())


def picture(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    """A picture file of uint8 pixels (height, width[, channels])."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    """A tar, gzipped if its name says so."""
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, content in members.items():
            add_member(archive, name, content)


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def smooth_pixels(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random pixels that JPEG keeps, so that two samples differ after it."""
    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, *shape[2:]), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[1::-1], Image.Resampling.BICUBIC))


def fitted(content: bytes, crop: int, size: int) -> np.ndarray:
    """What torchvision makes of a picture file: cut, shorter side resized, cut."""
    from PIL import Image
    from torchvision.transforms.functional import center_crop, resize

    image = Image.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(center_crop(resize(center_crop(image, crop) if crop else image, size), size))
