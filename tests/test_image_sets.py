"""Laws of the sets of pictures: the official formats decoded sample by sample, or refused by name; sets made alike."""

import io
import os
import tarfile
from dataclasses import replace

import numpy as np
import official_files
import pytest
import torch
import torchvision
from official_files import fitted, picture
from official_files import smooth_pixels as pixels
from PIL import Image

from latentlib import _image_sets, _members, _sources, datasets
from latentlib.__main__ import run

real = pytest.mark.skipif(
    not os.environ.get("LATENTLIB_DATA"), reason="LATENTLIB_DATA is not set: tests on the real data sets are skipped"
)


@pytest.fixture(autouse=True)
def own_folders(request, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if request.node.get_closest_marker("skipif") is None:
        monkeypatch.delenv("LATENTLIB_DATA", raising=False)


class Fixture:
    """A set in small: its official files in `folder`, and per split the contents of its samples, with their y."""

    def __init__(self, folder):
        self.folder, self.contents, self.y = folder, {}, {}
        folder.mkdir(exist_ok=True)

    def add(self, split, content, y=None):
        self.contents.setdefault(split, []).append(content)
        self.y.setdefault(split, []).append(y)
        return content


def make_dtd(folder):
    made, members, lists = Fixture(folder), {}, {}
    for k, (split, label) in enumerate((s, c) for s in ("train", "val", "test") for c in ("zigzagged", "banded")):
        name = f"{label}/{label}_{k:04d}.jpg"
        content = picture(pixels((40 + 3 * k, 60 - 2 * k, 3), k))
        members[f"dtd/images/{name}"] = made.add(split, content, int(label == "zigzagged"))
        lists[f"dtd/labels/{split}1.txt"] = lists.get(f"dtd/labels/{split}1.txt", b"") + f"{name}\n".encode()
    members = dict(reversed(members.items())) | lists  # the lists come after the pictures, in another order
    official_files.write_tar(
        folder / "dtd-r1.0.1.tar.gz", members | {"dtd/labels/train2.txt": b"no/such.jpg\n", "dtd/imdb/imdb.mat": b"x"}
    )
    return made


def make_places365(folder):
    made, members, lines = Fixture(folder), {}, []
    for k, label in enumerate((364, 0, 300)):
        shape = (256, 256, 3) if k else (256, 256)  # some pictures of the set are gray
        members[f"val_256/Places365_val_{k + 1:08d}.jpg"] = made.add("val", picture(pixels(shape, k)), label)
        lines.append(f"Places365_val_{k + 1:08d}.jpg {label}")
    official_files.write_tar(folder / "val_256.tar", dict(reversed(members.items())))
    lists = {"places365_val.txt": "\n".join(lines).encode(), "places365_test.txt": b"a.jpg\n"}
    official_files.write_tar(folder / "filelist_places365-standard.tar", lists)
    return made


def make_odin(folder, file, inside, side, suffix, kind):
    made, members = Fixture(folder), {f"{inside}/._0.{suffix}": b"what macOS adds"}
    for k in range(3):
        content = made.add("test", picture(pixels((side, side, 3), k), kind))
        members[f"{inside}/{k}.{suffix}"] = content
    official_files.write_tar(folder / file, members)
    return made


def make_celeba64(folder):
    made, members, lines = Fixture(folder), {}, []
    for k, split in enumerate(("train", "test", "train", "val")):
        members[f"img_align_celeba/{k + 1:06d}.jpg"] = made.add(split, picture(pixels((218, 178, 3), k)))
        lines.append(f"{k + 1:06d}.jpg {('train', 'val', 'test').index(split)}")
    official_files.write_zip(folder / "img_align_celeba.zip", members)
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return made


def galaxy_table(votes):
    lines = [",".join(("GalaxyID", *_image_sets.VOTE_NAMES))]
    lines += [",".join((str(100_008 + 15 * k), *map(str, row))) for k, row in enumerate(votes)]
    return "\n".join(lines).encode() + b"\n"


def make_galaxy_zoo64(folder):
    made, members = Fixture(folder), {}
    votes = np.random.default_rng(0).random((3, 37)).round(6)
    for k, row in enumerate(votes):
        content = made.add("train", picture(pixels((424, 424, 3), k)), row.astype(np.float32))
        members[f"images_training_rev1/{100_008 + 15 * k}.jpg"] = content
    official_files.write_zip(folder / "images_training_rev1.zip", members | {"__MACOSX/._x.jpg": b""})
    official_files.write_zip(
        folder / "training_solutions_rev1.zip", {"training_solutions_rev1.csv": galaxy_table(votes)}
    )
    return made


def make_mars_mastcam(folder):
    made, random = Fixture(folder), np.random.default_rng(0)
    frame = lambda: official_files.npy(random.integers(0, 256, (64, 64, 6)).astype(np.float64))  # noqa: E731
    for name, split in (("train_typical", "train"), ("validation_typical", "val"), ("test_typical", "test")):
        members = {f"{name}/s{k}.npy": made.add(split, frame(), 0) for k in range(2)}
        official_files.write_zip(folder / f"{name}.zip", members | {f"__MACOSX/{name}/._s0.npy": b"x"})
    novel = {f"test_novel/all/n{k}.npy": made.add("test", frame(), 1) for k in range(3)}
    again = {name.replace("/all/", "/veins/"): content for name, content in novel.items()}
    official_files.write_zip(folder / "test_novel.zip", again | novel)
    return made


def make_imagenette(folder):
    made, members = Fixture(folder), {"imagenette2-160/noisy_imagenette.csv": b"x"}
    for k, (split, wnid) in enumerate((s, w) for s in ("train", "val") for w in ("n01440764", "n03888257")):
        members[f"imagenette2-160/{split}/{wnid}/{wnid}_{k}.JPEG"] = made.add(
            split, picture(pixels((160, 200 + k, 3), k)), int(wnid == "n03888257")
        )
    official_files.write_tar(folder / "imagenette2-160.tgz", members)
    return made


def make_imagenet_classes(folder):
    made = Fixture(folder)
    (folder / "wnids.txt").write_text("n03888257\nn01440764\n")
    (folder / "n01440764").mkdir()
    contents = [picture(pixels((90, 70, 3), k)) for k in range(4)]
    official_files.write_tar(folder / "n03888257.tar", {f"n03888257_{k}.JPEG": contents[k] for k in range(2)})
    for k in (2, 3):
        (folder / "n01440764" / f"n01440764_{k}.JPEG").write_bytes(contents[k])
    for k, content in enumerate(contents):  # the order of the list, not of the alphabet
        made.add("all", content, k // 2)
    return made


MAKE = {
    "dtd": make_dtd, "places365": make_places365, "celeba64": make_celeba64, "galaxy_zoo64": make_galaxy_zoo64,
    "mars_mastcam": make_mars_mastcam, "imagenette": make_imagenette, "imagenet_classes": make_imagenet_classes,
    "lsun_crop": lambda folder: make_odin(folder, "LSUN.tar.gz", "LSUN/test", 36, "jpg", "JPEG"),
    "lsun_resize": lambda folder: make_odin(folder, "LSUN_resize.tar.gz", "LSUN_resize/LSUN_resize", 32, "png", "PNG"),
    "isun": lambda folder: make_odin(folder, "iSUN.tar.gz", "./iSUN/iSUN_patches", 32, "jpeg", "JPEG"),
}  # fmt: skip
BY_HAND = ("celeba64", "galaxy_zoo64", "imagenet_classes")


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Puts a set in small where it comes from: a local server, or the folder where a user puts it by hand."""
    with official_files.served(tmp_path) as (url, asked):

        def put(name):
            made = MAKE[name](tmp_path / "web" if name not in BY_HAND else (tmp_path / "cache" / name))
            put.asked = asked
            renew(name, made)
            return made

        def renew(name, made):
            """The tables as if the files were the official ones, whatever they hold now."""
            source = _sources.SOURCES[name]
            files = tuple(
                replace(
                    file,
                    urls=tuple(f"{url}web/{file.name}" for _ in file.urls),
                    md5=file.md5 and official_files.md5(made.folder / file.name),
                )
                for file in source.files
            )
            counts = {split: len(contents) if source.n[split] else 0 for split, contents in made.contents.items()}
            n = {split: counts[split] for split in source.n}
            monkeypatch.setitem(_sources.SOURCES, name, replace(source, files=files, n=n))

        (tmp_path / "cache").mkdir()
        put.renew = renew
        yield put


def expected_x(name, contents, size):
    if name == "mars_mastcam":
        return np.stack([np.load(io.BytesIO(content)) for content in contents]).astype(np.float32)
    crop = {"lsun_crop": 32, "celeba64": 148, "galaxy_zoo64": 207}.get(name, 0)
    return np.stack([fitted(content, crop, size) for content in contents])


@pytest.mark.parametrize("name", MAKE)
def test_load_decodes_pictures_of_the_official_format(name, publish, tmp_path):
    made = publish(name)
    source = _sources.SOURCES[name]
    for split in source.n:
        data = datasets.load(name, split)
        assert np.array_equal(data.x.numpy(), expected_x(name, made.contents[split], source.shape[0]))
        assert data.shape == (len(made.contents[split]), *source.shape) and data.x.numpy().dtype == source.dtype
        if name == "galaxy_zoo64":
            assert data.y is None and torch.equal(data.votes, torch.tensor(np.stack(made.y[split])))
        elif made.y[split][0] is None:
            assert data.y is None
        else:
            assert data.y.dtype == torch.int64 and data.y.tolist() == made.y[split]
        assert data.licence and data.citation and data.homepage and data.note
    whole = datasets.load(name, "all")
    assert torch.equal(whole.x, torch.cat([datasets.load(name, split).x for split in source.n]))
    requests = len(publish.asked)
    assert requests == (0 if name in BY_HAND else len(source.files))
    assert set(datasets.check(name)) == {str(tmp_path / "cache" / f"{name}.npz")}
    files = [path.name for path in (tmp_path / "cache").iterdir() if path.is_file()]
    assert sorted(files) == [f"{name}.npz", f"{name}.sha256.json"]


@pytest.mark.parametrize("name", ["dtd", "galaxy_zoo64"])
def test_load_decodes_pictures_to_another_size_from_the_originals(name, publish, capsys):
    """Not from the smaller pictures that were installed before; both sizes stay, each with its rule."""
    made = publish(name)
    small, large = datasets.load(name), datasets.load(name, size=48)
    assert np.array_equal(large.x.numpy(), expected_x(name, made.contents["train"], 48))
    assert torch.equal(datasets.load(name).x, small.x) and large.shape[1:] == (48, 48, 3)
    cut = "central 207 × 207 cut out, " if name == "galaxy_zoo64" else ""
    assert large.note.endswith(f"; {cut}shorter side resized to 48 (bilinear, antialiased), central 48 × 48")
    assert run(["data", "check", name, "--size", "48"]) == 0
    assert f"{name}_48.npz" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=f"{name}: want split 'any', got no archive"):
        datasets.check(name, size=20)
    assert run(["data", "get", name, "--size", "20"]) == 0
    assert f"{name}_20.npz" in capsys.readouterr().out and datasets.check(name, size=20)


def test_load_takes_pictures_lying_in_a_folder_without_a_download(publish, tmp_path):
    made = publish("dtd")
    (tmp_path / "root" / "dtd").mkdir(parents=True)
    (tmp_path / "root" / "dtd" / "dtd-r1.0.1.tar.gz").write_bytes((made.folder / "dtd-r1.0.1.tar.gz").read_bytes())
    assert len(datasets.load("dtd", "val", root=tmp_path / "root", download=False)) == 2
    with pytest.raises(FileNotFoundError, match=r"want split 'val', got no archive in .*; dtd: put dtd-r1.0.1.tar.gz"):
        datasets.load("dtd", "val", download=False)
    assert publish.asked == [] and not (tmp_path / "cache" / "dtd.npz").exists()


@pytest.mark.parametrize("name", BY_HAND)
def test_load_says_which_file_to_put_where_by_hand(name, tmp_path):
    source = _sources.SOURCES[name]
    with pytest.raises(FileNotFoundError) as refusal:
        datasets.load(name, "all")
    wanted = [file.name for file in source.files] + [source.homepage, str(tmp_path / "cache" / name)]
    assert all(word in str(refusal.value) for word in wanted)
    with pytest.raises(FileNotFoundError, match=f"^{name}: put {source.files[0].name}"):
        datasets.install(name)
    row = next(row for row in datasets.catalogue() if row["name"] == name)
    assert row["where"] == f"not here; by hand: {', '.join(file.name for file in source.files)}"
    assert not (tmp_path / "cache").exists()


def test_load_takes_the_galaxy_table_unzipped_too(publish):
    made = publish("galaxy_zoo64")
    votes = np.stack(made.y["train"])
    (made.folder / "training_solutions_rev1.zip").unlink()
    (made.folder / "training_solutions_rev1.csv").write_bytes(galaxy_table(votes))
    data = datasets.load("galaxy_zoo64")
    assert torch.equal(data.votes, torch.from_numpy(votes))


def test_vote_is_the_column_of_its_answer(publish):
    made = publish("galaxy_zoo64")
    data = datasets.load("galaxy_zoo64")
    # Questions 1 to 5 have 3 + 2 + 2 + 2 + 4 answers: the first of question 6, "odd", is column 13.
    assert torch.equal(data.vote("Class6.1"), torch.from_numpy(np.stack(made.y["train"])[:, 13]))
    assert torch.equal(data.vote("Class11.6"), data.votes[:, 36])
    with pytest.raises(ValueError, match=r"galaxy_zoo64: want one of Class1.1 … Class11.6, got 'Class6.3'"):
        data.vote("Class6.3")
    with pytest.raises(ValueError, match="digits: want a set with votes, got 'Class6.1'"):
        datasets.load("digits").vote("Class6.1")


# What is refused ----------------------------------------------------------------------------------------------------


def refused(name, tmp_path, message, split="all", **more):
    with pytest.raises(ValueError, match=message):
        datasets.load(name, split, **more)
    assert not list((tmp_path / "cache").glob("*.npz")) and not list((tmp_path / "cache").glob("*.partial"))


def test_load_refuses_a_damaged_archive_of_pictures(publish, tmp_path):
    made = publish("places365")
    path = tmp_path / "cache" / "places365" / "val_256.tar"
    path.parent.mkdir()
    content = bytearray((made.folder / path.name).read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    expected = official_files.md5(made.folder / path.name)
    refused("places365", tmp_path, f"val_256.tar: expected MD5 {expected}, found {official_files.md5(path)}")


@pytest.mark.parametrize("cut", [0.5, 0.98])
def test_load_refuses_a_truncated_archive_without_md5(publish, tmp_path, cut):
    made = publish("galaxy_zoo64")
    path = made.folder / "images_training_rev1.zip"
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    refused("galaxy_zoo64", tmp_path, "images_training_rev1.zip, .* cannot be decoded: ")


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_load_refuses_a_truncated_tar_of_a_class(publish, tmp_path, cut):
    path = publish("imagenet_classes").folder / "n03888257.tar"
    with tarfile.open(path) as archive:
        end = archive.getmembers()[-1].offset_data + archive.getmembers()[-1].size
    path.write_bytes(path.read_bytes()[: int(cut * end)])
    refused("imagenet_classes", tmp_path, "cannot be decoded: ")


def test_load_writes_nothing_by_the_names_of_an_archive_and_follows_no_link(publish, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(picture(pixels((40, 40, 3), 1)))
    made = publish("dtd")
    path = made.folder / "dtd-r1.0.1.tar.gz"
    with tarfile.open(path) as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive}
    linked = members.pop("dtd/images/banded/banded_0001.jpg")
    assert linked
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            official_files.add_member(archive, name, content)
        official_files.add_member(archive, "../../escaped.jpg", b"x")
        official_files.add_member(archive, str(tmp_path / "absolute.jpg"), b"x")
        link = tarfile.TarInfo("dtd/images/banded/banded_0001.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.jpg")
        archive.addfile(link)
    publish.renew("dtd", made)
    refused("dtd", tmp_path, r"want a plain file 'dtd/images/banded/banded_0001.jpg', got none \(1 are missing\)")
    assert not list(tmp_path.rglob("escaped*")) and not (tmp_path / "absolute.jpg").exists()


@pytest.mark.parametrize("name", ["dtd", "celeba64", "imagenet_classes"])
def test_load_refuses_a_member_that_is_a_bomb(publish, tmp_path, monkeypatch, name):
    """A tar.gz, a zip and a folder: the stated size is looked at before anything is read."""
    made = publish(name)
    largest = max(len(content) for contents in made.contents.values() for content in contents)
    monkeypatch.setattr(_members, "MAX_MEMBER_BYTES", largest)
    datasets.load(name, "all", root=made.folder.parent if name in BY_HAND else None)
    for path in (tmp_path / "cache").glob("*.npz"):
        path.unlink()
    monkeypatch.setattr(_members, "MAX_MEMBER_BYTES", largest - 1)
    refused(name, tmp_path, rf"want .* of at most {largest - 1} bytes, got {largest}")


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("celeba64", "list_eval_partition.txt", b"000001.jpg 0\n000001.jpg 1\n000002.jpg 2\n", "listed once, got it"),
        ("celeba64", "list_eval_partition.txt", b"000001.jpg 0\n000002.jpg 1\n000009.jpg 2\n", "000009.jpg', got none"),
        ("celeba64", "list_eval_partition.txt", b"000001.jpg 0\n", "want 1 samples in split 'val', got 0"),
        ("celeba64", "list_eval_partition.txt", b"<html>\n", "cannot be decoded"),
        ("galaxy_zoo64", "training_solutions_rev1.csv", b"GalaxyID,Class1.1\n1,0.5\n", "want columns GalaxyID"),
        ("galaxy_zoo64", "training_solutions_rev1.csv", galaxy_table(np.full((3, 37), 1.01)), "want shares of votes"),
        ("galaxy_zoo64", "training_solutions_rev1.csv", galaxy_table(np.full((3, 37), np.nan)), "want shares of votes"),
        ("galaxy_zoo64", "training_solutions_rev1.csv", galaxy_table(np.zeros((2, 37))), "want 3 samples .*, got 2"),
        ("imagenet_classes", "wnids.txt", b"n03888257\nn1\n", r"wnids.txt: want different WordNet .* got \['n1'\]"),
        ("imagenet_classes", "wnids.txt", b"n03888257\nn03888257\n", "wnids.txt: want different WordNet numbers"),
        ("imagenet_classes", "wnids.txt", b"", "wnids.txt: want different WordNet numbers"),
        ("imagenet_classes", "wnids.txt", b"n03888257\nn00000001\n", "want a folder n00000001 or a file n00000001.tar"),
        ("imagenet_classes", "n01440764/n01440764_2.JPEG", b"\xff\xd8 no picture", "n01440764_2.JPEG: want a whole"),
    ],
)
def test_load_refuses_lists_and_pictures_that_do_not_fit(publish, tmp_path, name, file, content, message):
    made = publish(name)
    if name == "celeba64":
        source = _sources.SOURCES[name]
        _sources.SOURCES[name] = replace(source, n={"train": 1, "val": 1, "test": 1})
    if file.endswith(".csv"):
        (made.folder / "training_solutions_rev1.zip").unlink()
    (made.folder / file).write_bytes(content)
    source = _sources.SOURCES[name]
    _sources.SOURCES[name] = replace(source, files=tuple(replace(file, md5=None) for file in source.files))
    refused(name, tmp_path, message)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((64, 64, 3)), r"finite numbers of shape \(64, 64, 6\), got float64 \(64, 64, 3\)"),
        (np.full((64, 64, 6), np.nan), "finite numbers"),
        (np.zeros((64, 64, 6), complex), "finite numbers of shape .* got complex128"),
        (np.array([{}], dtype=object), "Object arrays cannot be loaded"),
        (np.full((64, 64, 6), "a"), "finite numbers|ufunc"),
    ],
)
def test_load_refuses_a_frame_that_is_no_mastcam_frame(publish, tmp_path, frame, message):
    made = publish("mars_mastcam")
    content = {f"test_typical/s{k}.npy": official_files.npy(frame) for k in range(2)}
    official_files.write_zip(made.folder / "test_typical.zip", content)
    publish.renew("mars_mastcam", made)
    refused("mars_mastcam", tmp_path, message)


def test_load_refuses_installed_classes_that_are_not_the_listed_ones(publish, tmp_path):
    made = publish("imagenet_classes")
    assert datasets.load("imagenet_classes", "all").class_names == ("n03888257", "n01440764")
    (made.folder / "wnids.txt").write_text("n01440764\n")
    with pytest.raises(ValueError, match=r"imagenet_classes.npz: want the classes \['n01440764'\] of .*wnids.txt, got"):
        datasets.load("imagenet_classes", "all")
    (tmp_path / "cache" / "imagenet_classes.npz").unlink()
    assert len(datasets.load("imagenet_classes", "all")) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.load("lsun_crop"), r"lsun_crop: want split 'test' or 'all', got 'train'"),
        (lambda: datasets.load("imagenet_classes"), r"imagenet_classes: want split 'all', got 'train'"),
        (lambda: datasets.load("mnist", size=32), r"mnist: want size None, for its arrays have one size, got 32"),
        (lambda: datasets.load("own.npz", size=32), r"own.npz: want size None, a file has arrays of one size, got 32"),
        (lambda: datasets.load("dtd", size=0), r"dtd: want size ≥ 1, got 0"),
        (lambda: datasets.install("mars_mastcam", size=32), r"mars_mastcam: want size None"),
    ],
)
def test_load_of_pictures_bad_input_names_wanted_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The tables ---------------------------------------------------------------------------------------------------------


def test_image_sets_have_the_addresses_and_md5_sums_of_torchvision():
    tables, known = torchvision.datasets, {}
    known[tables.DTD._URL] = tables.DTD._MD5
    places = tables.Places365
    for name, md5 in (places._IMAGES_META["val", True], places._DEVKIT_META["standard"]):
        known[places._BASE_URL + name] = md5
    url, known_md5 = tables.Imagenette._ARCHIVES["160px"]
    known[url] = known_md5
    ours = {file.urls[0]: file.md5 for source in _image_sets.IMAGE_SETS for file in source.files if file.urls}
    assert {url: ours.get(url) for url in known} == known
    celeba = {name: md5 for _, md5, name in tables.CelebA.file_list}
    files = _sources.SOURCES["celeba64"].files
    assert {file.name: file.md5 for file in files} == {file.name: celeba[file.name] for file in files}


def test_image_sets_have_the_published_numbers():
    totals = {source.name: sum(source.n.values()) for source in _image_sets.IMAGE_SETS}
    assert totals["dtd"] == 47 * 120 and totals["places365"] == 365 * 100 and totals["celeba64"] == 202_599
    assert totals["imagenette"] == 13_394 and totals["mars_mastcam"] == 9302 + 1386 + 426 + 430
    assert len(_image_sets.VOTE_NAMES) == 37 and len(set(_image_sets.VOTE_NAMES)) == 37
    assert all(source.ood_split in (*source.n, "all") for source in _image_sets.IMAGE_SETS)


# Sets made alike ----------------------------------------------------------------------------------------------------


def install(tmp_path, monkeypatch, name, **arrays):
    """Arrays of a set in the cache, as a verified archive."""
    from latentlib._install import fingerprint

    n = {key.removeprefix("x_"): len(array) for key, array in arrays.items() if key.startswith("x_")}
    known = {key: fingerprint(array) for key, array in arrays.items()}
    source = replace(_sources.SOURCES[name], n=n, fingerprints=known)
    monkeypatch.setitem(_sources.SOURCES, name, source)
    (tmp_path / "cache").mkdir(exist_ok=True)
    np.savez(tmp_path / "cache" / f"{name}.npz", **arrays)


def small_set(random, n, shape):
    x = random.integers(0, 256, (n, *shape), dtype=np.uint8)
    return {"x_train": x[:1], "y_train": np.zeros(1, np.uint8), "x_test": x, "y_test": np.zeros(n, np.uint8)}


def as_pillow_resizes(images, known, size):
    """Equal to Pillow's bilinear filter, which rounds to 8 bits in each of its two passes: half a level twice."""
    resized = [Image.fromarray(x.squeeze()).resize((size, size), Image.Resampling.BILINEAR) for x in known]
    expected = torch.from_numpy(np.stack(resized).reshape(len(known), size, size, -1)).permute(0, 3, 1, 2)
    return (images * 255 - expected).abs().max() <= 1.0 + 1e-4  # the rounding of float32 · 255


def test_load_ood_makes_sets_alike(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    color, gray = small_set(random, 4, (32, 32, 3)), small_set(random, 3, (28, 28))
    install(tmp_path, monkeypatch, "cifar100", **color)
    install(tmp_path, monkeypatch, "mnist", **gray)
    found = datasets.load_ood(["cifar100", "mnist"])
    as_is = torch.from_numpy(color["x_test"]).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(found.images["cifar100"], as_is)
    assert found.rules["cifar100"] == "4 of 4 samples of split 'test'"
    digits = found.images["mnist"]
    assert digits.shape == (3, 3, 32, 32) and digits.dtype == torch.float32 and digits.is_contiguous()
    assert torch.equal(digits[:, 0], digits[:, 1]) and torch.equal(digits[:, 0], digits[:, 2])
    assert as_pillow_resizes(digits[:, :1], gray["x_test"][..., None], 32)
    assert "28 × 28 resized to 32 (bilinear, antialiased); gray repeated" in found.rules["mnist"]
    assert found.absent == {}
    luma = datasets.load_ood(["cifar100"], channels=1).images["cifar100"]
    weights = torch.tensor([0.299, 0.587, 0.114])
    assert torch.allclose(luma[:, 0], (as_is * weights[:, None, None]).sum(1), atol=1e-6)
    half = datasets.load_ood(["cifar100"], size=16).images["cifar100"]
    assert half.shape == (4, 3, 16, 16) and half.min() >= 0 and half.max() <= 1
    assert as_pillow_resizes(half, color["x_test"], 16)


def test_load_ood_cuts_the_central_square_of_an_oblong():
    from latentlib._ood import alike

    images = torch.arange(40.0).reshape(1, 1, 4, 10).expand(1, 3, 4, 10) / 40
    square, said = alike(images, 4, 3)
    assert torch.equal(square, images[..., 3:7]) and said == ["central 4 × 4"]


def test_load_ood_decodes_pictures_straight_to_the_size(publish):
    publish("dtd")
    found = datasets.load_ood(["dtd", "dtd:val"], size=20)
    assert torch.equal(found.images["dtd"], datasets.load("dtd", "all", size=20).images())
    assert torch.equal(found.images["dtd:val"], datasets.load("dtd", "val", size=20).images())
    assert found.rules["dtd"].startswith("6 of 6 samples of split 'all'; partition 1;")
    assert found.rules["dtd"].endswith("central 20 × 20")


def test_load_ood_draws_a_subset_without_repetition_in_order(tmp_path, monkeypatch):
    x = np.repeat(np.arange(200, dtype=np.uint8), 32 * 32 * 3).reshape(200, 32, 32, 3)
    y = np.zeros(200, np.uint8)
    install(tmp_path, monkeypatch, "cifar100", x_train=x, y_train=y, x_test=x, y_test=y)
    drawn = lambda seed: (  # noqa: E731  the number of each sample, written in its pixels
        datasets.load_ood(["cifar100"], n_max=50, seed=seed).images["cifar100"][:, 0, 0, 0] * 255
    ).round()
    rows = drawn(3)
    assert len(rows) == 50 and (rows.diff() > 0).all()
    assert torch.equal(drawn(3), rows) and not torch.equal(drawn(4), rows)
    # The mean of 50 numbers drawn from 0 … 199 without repetition: 4 s.e. = 4·√((200² − 1)/12/50·(150/199)) = 28.
    assert abs(rows.mean() - 99.5) < 28
    assert datasets.load_ood(["cifar100"], n_max=50).rules["cifar100"] == "50 of 200 samples of split 'test'"


def test_load_ood_reports_the_absent_sets(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "cifar100", **small_set(np.random.default_rng(0), 2, (32, 32, 3)))
    names = ["celeba64", "cifar100", "lsun_crop"]
    found = datasets.load_ood(names, missing="skip", download=False)
    assert set(found.images) == set(found.rules) == {"cifar100"} and set(found.absent) == {"celeba64", "lsun_crop"}
    assert "put img_align_celeba.zip, list_eval_partition.txt from http://mmlab" in found.absent["celeba64"]
    with pytest.raises(FileNotFoundError) as refusal:
        datasets.load_ood(names, download=False)
    assert "celeba64: want split 'test'" in str(refusal.value) and "put LSUN.tar.gz from" in str(refusal.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.load_ood(["svnh"]), "want the name of a data set, got 'svnh'; did you mean 'svhn'"),
        (lambda: datasets.load_ood("svhn"), "want a sequence of names, got the string 'svhn'"),
        (lambda: datasets.load_ood(["svhn:crop"]), "svhn: want split .* got 'crop'"),
        (lambda: datasets.load_ood(["digits:train"]), r"load_ood: digits:train: digits: want images \(n, height"),
        (lambda: datasets.load_ood([], missing="no"), "want missing 'raise' or 'skip', got 'no'"),
        (lambda: datasets.load_ood([], size=0), "want size ≥ 1 and n_max ≥ 1 or None, got 0 and None"),
        (lambda: datasets.load_ood([], n_max=0), "want size ≥ 1 and n_max ≥ 1 or None, got 32 and 0"),
    ],
)
def test_load_ood_bad_input_names_wanted_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_load_ood_refuses_six_bands(publish):
    publish("mars_mastcam")
    with pytest.raises(ValueError, match="mars_mastcam: want images of 1 or 3 channels .*, got 6 for 3"):
        datasets.load_ood(["mars_mastcam"])
    with pytest.raises(ValueError, match="want images of 1 or 3 channels for a detector of 1 or 3, got 6 for 6"):
        datasets.load_ood(["mars_mastcam"], channels=6)


@real
def test_load_real_textures_and_digits_are_ready_for_a_detector():
    found = datasets.load_ood(["dtd10", "svhn:crops"], n_max=1200, download=False)
    assert {name: tuple(images.shape) for name, images in found.images.items()} == {
        "dtd10": (1200, 3, 32, 32), "svhn:crops": (1200, 3, 32, 32),
    }  # fmt: skip
    textures = datasets.load("dtd10", download=False)
    assert torch.equal(found.images["dtd10"], textures.images())
    assert torch.bincount(textures.y).tolist() == [120] * 10
