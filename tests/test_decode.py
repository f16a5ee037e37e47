"""Laws of the official formats: exact values, expected members only, bounded sizes."""

import bz2
import tarfile
import zipfile

import numpy as np
import official_files
import pytest

from latentlib import _decode
from latentlib._sources import SOURCES, WORLDCLIM_TIFS


def test_decode_usps_maps_minus_one_to_one_onto_zero_to_one(tmp_path):
    """x = (float32(v) + 1)/2: rounded at v first. A missing index is v = 0, label 10 is the digit 9."""
    (tmp_path / "a.bz2").write_bytes(bz2.compress(b"10 1:-1 2:-0.999 3:1\n"))
    (tmp_path / "b.bz2").write_bytes(bz2.compress(b"1 256:0.5\n"))
    arrays = _decode.decode(SOURCES["usps"], {"a": tmp_path / "a.bz2", "b": tmp_path / "b.bz2"}, tmp_path)
    assert arrays["x_train"].dtype == np.float32 and arrays["x_train"].shape == (1, 256)
    expected = [0.0, (np.float32(-0.999) + 1) / 2, 1.0, 0.5]
    assert np.array_equal(arrays["x_train"][0, :4], np.array(expected, np.float32))
    assert arrays["x_test"][0, 255] == 0.75
    assert arrays["y_train"].tolist() == [9] and arrays["y_test"].tolist() == [0]


def test_decode_cifar_refuses_a_link_that_leaves_the_archive(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    path, work = tmp_path / "cifar.tar.gz", tmp_path / "work"
    work.mkdir()
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(link)
    with pytest.raises(KeyError):
        _decode.decode(SOURCES["cifar10"], {path.name: path}, work)
    assert not any(file.is_file() for file in work.rglob("*"))


def test_decode_cifar_refuses_a_folder_in_place_of_a_batch(tmp_path):
    path, work = tmp_path / "cifar.tar.gz", tmp_path / "work"
    work.mkdir()
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    with pytest.raises(ValueError, match="cifar.tar.gz: want 'data_batch_1' to be a plain file, got a folder"):
        _decode.decode(SOURCES["cifar10"], {path.name: path}, work)


def test_decode_worldclim_keeps_the_cells_that_every_map_has(tmp_path):
    land = np.ones((4, 8), bool)
    x = np.arange(32 * 19, dtype=np.float32).reshape(32, 19)
    x[5, 7] = -3.4e38  # no value in one map: the cell is dropped
    official_files.write_worldclim(tmp_path / "bio.zip", x, land)
    arrays = _decode.decode(SOURCES["worldclim"], {"bio.zip": tmp_path / "bio.zip"}, tmp_path)
    assert np.array_equal(arrays["X"], np.delete(x, 5, 0))
    assert np.array_equal(np.flatnonzero(np.unpackbits(arrays["landmask_packed"]) == 0), [5])


def test_decode_worldclim_refuses_maps_of_two_shapes_and_bombs(tmp_path, monkeypatch):
    for shape in ((4, 8), (2, 8)):
        n = shape[0] * shape[1]
        official_files.write_worldclim(tmp_path / f"{n}.zip", np.ones((n, 19), np.float32), np.ones(shape, bool))
    with zipfile.ZipFile(tmp_path / "mixed.zip", "w") as mixed:
        for k, name in enumerate(WORLDCLIM_TIFS):
            with zipfile.ZipFile(tmp_path / ("32.zip" if k else "16.zip")) as part:
                mixed.writestr(name, part.read(name))
    files = {"mixed.zip": tmp_path / "mixed.zip"}
    with pytest.raises(ValueError, match=r"mixed.zip: want 19 maps of one shape, got \[\(2, 8\), \(4, 8\)\]"):
        _decode.decode(SOURCES["worldclim"], files, tmp_path)
    monkeypatch.setattr(_decode, "MAX_TIF_BYTES", 10)
    with pytest.raises(ValueError, match="mixed.zip: want wc2.1_10m_bio_1.tif of at most 10 bytes, got"):
        _decode.decode(SOURCES["worldclim"], files, tmp_path)


def test_official_files_of_every_download_have_an_md5_or_a_published_fingerprint():
    for source in SOURCES.values():
        if source.decoder == "sklearn":
            continue
        for file in _decode.official_files(source):
            assert all(url.startswith("http") and url.endswith(file.name) for url in file.urls)
            by_hand = file.md5 is None and not file.urls  # names and counts vouch, as the tests of the sets say
            published = set(source.fingerprints) == {"X", "landmask_packed"}
            assert published or by_hand if file.md5 is None else len(file.md5) == 32
            assert file.urls or source.name in ("celeba64", "galaxy_zoo64", "imagenet_classes")


def test_official_files_are_none_for_a_set_that_is_in_no_download():
    assert _decode.official_files(SOURCES["dtd10"]) == ()
    assert [source.name for source in SOURCES.values() if not source.decoder] == ["dtd10"]
