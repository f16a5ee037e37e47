"""Laws of the archives: plain files only, in any container, and none larger than it may be."""

import tarfile
import zipfile

import official_files
import pytest

from latentlib import _members

CONTENT = {"set/b.jpg": b"b" * 30, "set/a.PNG": b"a" * 20, "set/._a.jpg": b"x", "set/list.txt": b"one\ntwo\n"}


@pytest.fixture(params=["tar", "tar.gz", "zip", "folder"])
def container(request, tmp_path):
    """The same members in every container; a folder has them without their path."""
    path = tmp_path / f"set.{request.param}"
    if request.param == "folder":
        path.mkdir()
        for name, content in CONTENT.items():
            (path / name.rpartition("/")[2]).write_bytes(content)
        (path / "inner").mkdir()
    elif request.param == "zip":
        official_files.write_zip(path, CONTENT | {"set/inner/": b""})
    else:
        official_files.write_tar(path, {f"./{name}": content for name, content in CONTENT.items()})
        if request.param == "tar":
            with tarfile.open(path, "a") as archive:
                for name, kind in (("set/link.jpg", tarfile.SYMTYPE), ("set/hard.jpg", tarfile.LNKTYPE)):
                    link = tarfile.TarInfo(name)
                    link.type, link.linkname = kind, "./set/b.jpg"
                    archive.addfile(link)
    return path


def names_in(container):
    prefix = "" if container.is_dir() else "set/"
    return [prefix + name for name in ("a.PNG", "b.jpg", "list.txt")]


def test_member_names_are_the_plain_files_sorted(container):
    assert _members.member_names(container) == names_in(container)
    assert _members.pictures(names_in(container)) == names_in(container)[:2]


def test_read_members_gives_what_is_wanted_and_no_link(container):
    wanted = {*names_in(container), "set/link.jpg", "set/hard.jpg", "inner", "set/inner/", "absent"}
    found = dict(_members.read_members(container, wanted))
    assert found == {name: CONTENT["set/" + name.rpartition("/")[2]] for name in names_in(container)}
    assert list(_members.read_members(container, {"absent"})) == []


def test_read_members_refuses_a_member_by_its_stated_size(container, monkeypatch):
    small, large, _ = names_in(container)
    monkeypatch.setattr(_members, "MAX_MEMBER_BYTES", 20)
    assert dict(_members.read_members(container, {small})) == {small: b"a" * 20}
    with pytest.raises(ValueError, match=f"{container.name}: want {large} of at most 20 bytes, got 30"):
        list(_members.read_members(container, {large}))


def test_read_members_reads_no_more_than_the_stated_size(tmp_path):
    """A zip that states 5 bytes and unpacks to 10 000: the checksum of the first 5 is not the stated one."""
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"0" * 10_000)
    content = path.read_bytes()
    assert content.count((10_000).to_bytes(4, "little")) == 2  # the local header and the directory
    path.write_bytes(content.replace((10_000).to_bytes(4, "little"), (5).to_bytes(4, "little")))
    with pytest.raises(zipfile.BadZipFile, match="Bad CRC-32"):
        list(_members.read_members(path, {"a.jpg"}))


def test_read_text_finds_one_list_in_any_container(container, tmp_path):
    if not container.is_dir():
        assert _members.read_text(container, "list.txt") == ["one", "two"]
        with pytest.raises(ValueError, match=f"{container.name}: want one plain file 'other.txt', got 0"):
            _members.read_text(container, "other.txt")
    (tmp_path / "own.csv").write_bytes(b"three\r\n")
    assert _members.read_text(tmp_path / "own.csv", "list.csv") == ["three"]


def test_read_text_refuses_two_lists_of_one_name_and_a_large_one(tmp_path, monkeypatch):
    official_files.write_tar(tmp_path / "two.tar", {"a/list.txt": b"1", "b/list.txt": b"2"})
    with pytest.raises(ValueError, match="two.tar: want one plain file 'list.txt', got 2"):
        _members.read_text(tmp_path / "two.tar", "list.txt")
    (tmp_path / "own.txt").write_bytes(b"x" * 9)
    monkeypatch.setattr(_members, "MAX_MEMBER_BYTES", 8)
    with pytest.raises(ValueError, match="own.txt: want own.txt of at most 8 bytes, got 9"):
        _members.read_text(tmp_path / "own.txt", "own.txt")
