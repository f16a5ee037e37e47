"""Where the site's links lead: inside it to a file and a mark that are there, outside it to tracked files alone."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from packaging.requirements import Requirement
from small_chapters import spectrum_project

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "book" / "_build" / "html"
ADDRESS = "https://github.com/some-owner/some.book"

sys.path.insert(0, str(ROOT / ".ci"))
import colab  # noqa: E402
import dead_links  # noqa: E402
import repository  # noqa: E402
from sphinx.errors import ConfigError  # noqa: E402


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def tracked(folder: Path = ROOT) -> set[str]:
    """Files that are or would be under version control: a generated one is ignored, and never among them."""
    if not (folder / ".git").exists():
        pytest.skip("not a git checkout")
    return set(git(folder, "ls-files", "--cached", "--others", "--exclude-standard").splitlines())


def pages(site: Path) -> list[Path]:
    if not (site / "index.html").is_file():
        pytest.skip("the site is not built: run `make book`")
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]


def chapters(site: Path) -> list[Path]:
    found = [page for page in pages(site) if page.parent.name == "chapters"]
    assert found, "no chapter: the test would hold vacuously"
    return found


# Inside the site ------------------------------------------------------------------------------------------------------


def test_site_has_no_dead_link():
    assert dead_links.dead_links(pages(SITE)) == []


def test_dead_links_finds_them(tmp_path):
    (tmp_path / "b c.html").write_text('<p id="ä">')
    live = ["b%20c.html#%C3%A4", "a.html?q=1#x", "#", "", "#x", "#y"]
    live += ["https://x.org/d.html", "//x.org/d", "mailto:a@b.c"]
    dead = ["#z", "b%20c.html#x", "d.html", "a.html#z", "..", "/a.html"]
    links = "".join(f'<a href="{link}"></a>' for link in live + dead)
    sources = '<script src="a.js"></script><img src="a.png"><img src="data:,"><link href="a.css"><source src="a.mp4">'
    (tmp_path / "a.html").write_text(f'<p id="x"></p><a name="y"></a>{links}{sources}')
    wanted = [f"a.html: {link}" for link in [*dead, "a.js", "a.png", "a.css", "a.mp4"]]
    assert dead_links.dead_links([tmp_path / "a.html", tmp_path / "b c.html"]) == wanted


def downloads(page: Path) -> list[str]:
    return re.findall(r'<a class="[^"]*notebook-download"\s+href="([^"]+)"\s+download\s', page.read_text())


def test_download_is_the_tracked_notebook():
    files = tracked()
    for page in chapters(SITE):
        (link,) = downloads(page)
        name = f"notebooks/{page.stem}.ipynb"
        assert name in files
        assert (page.parent / link).read_bytes() == (ROOT / name).read_bytes(), "the site is older than its notebook"


def test_download_is_offered_by_chapters_alone():
    assert [page.name for page in pages(SITE) if page not in chapters(SITE) and downloads(page)] == []


def reading_order() -> list[str]:
    from sphinx_external_toc.parsing import parse_toc_yaml

    return list(parse_toc_yaml(ROOT / "_toc.yml"))


@pytest.mark.parametrize("number", range(len(reading_order())), ids=reading_order())
def test_page_leads_to_the_one_before_and_the_one_after(number):
    order = ["", *reading_order(), ""]
    page = SITE / f"{order[number + 1]}.html"
    if not page.is_file():
        pytest.skip("the site is not built: run `make book`")
    for side, name in (("left-prev", order[number]), ("right-next", order[number + 2])):
        found = re.findall(rf'class="{side}"\s+href="([^"]+)"', page.read_text())
        targets = [(page.parent / link).resolve().relative_to(SITE.resolve()).as_posix() for link in found]
        assert targets == ([f"{name}.html"] if name else [])


def test_site_is_served_with_its_folders_that_begin_with_an_underscore():
    """GitHub Pages leaves them out unless this file is there."""
    pages(SITE)
    assert (SITE / ".nojekyll").is_file()


# To the repository ----------------------------------------------------------------------------------------------------


def target(link: str) -> tuple[str, str] | None:
    """(branch, file) of a link to a file of the repository at ADDRESS; None for a link to something else."""
    parts = urlsplit(link)
    owner = urlsplit(ADDRESS).path
    if parts.netloc == "mybinder.org":
        root, branch = parts.path.removeprefix(f"/v2/gh{owner}").rsplit("/", 1)
        (opened,) = parse_qs(parts.query)["urlpath"]
        assert root == "" and opened.startswith("lab/tree/")
        return unquote(branch), opened.removeprefix("lab/tree/")
    place = parts.path.removeprefix("/github") if parts.netloc == "colab.research.google.com" else parts.path
    match = re.fullmatch(rf"{re.escape(owner)}/(?:blob|edit)/([^/]+)/(.+)", place)
    return (match[1], unquote(match[2])) if match else None


def test_target_reads_the_links_of_a_repository():
    links = repository.Repository("some-owner", "some.book", "trunk")
    assert links.url == ADDRESS
    notebook = "notebooks/00_a.ipynb"
    assert target(links.edit(notebook)) == target(links.binder(notebook)) == ("trunk", notebook)
    assert target(links.colab("00_a")) == ("gh-pages", "colab/00_a.ipynb")
    assert target(links.issue("book/intro")) is target(links.commit("abc")) is target(links.url) is None


def test_read_repository_takes_an_address_of_github_or_none():
    assert repository.read_repository({"repository_url": ""}) is repository.read_repository({}) is None
    for address in (ADDRESS, f"{ADDRESS}/", f"{ADDRESS}.git"):
        assert repository.read_repository({"repository_url": address}).url == ADDRESS
    for address in ("https://example.org/a/b", "github.com/a/b", f"{ADDRESS}/tree/main"):
        with pytest.raises(ConfigError, match=f"want https://github.com/OWNER/NAME or '', got '{re.escape(address)}'"):
            repository.read_repository({"repository_url": address})


def test_edited_file_is_tracked():
    files = tracked()
    names = [repository.edited_file(name, next(ROOT.glob(f"{name}.*"), f"{name}.md")) for name in reading_order()]
    assert [name for name in names if name and name not in files] == []
    assert all(name.startswith(("book/", "notebooks/")) and "book/chapters" not in name for name in names if name)


def build(root: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", ".", *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


CONTENTS = ("chapters/00_one_spectrum", "how_to_read", "claims", "provenance")
STRICT = ("--path-output", "book", "-n", "-W", "--keep-going", "-q")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A small book with this book's settings and a throwaway address: an intro, one executed chapter, its ledger."""
    from latentlib.ledger_pages import write_pages

    root = spectrum_project(tmp_path_factory.mktemp("project"))
    write_pages(root)
    shutil.copytree(ROOT / ".ci", root / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
    for name in ("pyproject.toml", "book/references.bib", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    settings, count = re.subn(r'(?m)^  url: .*$', f"  url: {ADDRESS}", (ROOT / "_config.yml").read_text())
    assert count == 1, "the address stands in one place"
    (root / "_config.yml").write_text(settings)
    listed = "".join(f"- file: book/{name}\n" for name in CONTENTS)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/intro\nchapters:\n{listed}")
    (root / "book" / "intro.md").write_text("# A\n\nText.\n")
    (root / "book" / "how_to_read.md").write_text("# B\n\n## Verdict words\n")  # the ledger links to it
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "a")
    return root


@pytest.mark.slow
def test_links_with_an_address_lead_to_tracked_files(project):
    run = build(project, *STRICT)
    assert run.returncode == 0, run.stdout + run.stderr
    site, files = project / "book" / "_build" / "html", tracked(project)
    found = {}
    for page in pages(site):
        links = re.findall(r'<a[^>]*?href="(https://[^"]+)"', page.read_text())
        found[page.stem] = [(urlsplit(link).netloc, *(target(link) or ("", ""))) for link in links if "some" in link]
    notebook = "notebooks/00_one_spectrum.ipynb"
    chapter = set(found["00_one_spectrum"]) - {("github.com", "", "")}
    copy = ("colab.research.google.com", "gh-pages", "colab/00_one_spectrum.ipynb")
    assert chapter == {("github.com", "main", notebook), ("mybinder.org", "main", notebook), copy}
    assert ("github.com", "main", "book/intro.md") in found["intro"]
    assert ("github.com", "main", "book/claims.yml") in found["claims"]
    on_main = {name for links in found.values() for _, branch, name in links if branch == "main"}
    assert on_main <= files and not any(name.startswith("book/chapters") for name in on_main)
    assert (site / copy[2]).is_file() and copy[2].replace("colab/", "notebooks/") in files


@pytest.mark.slow
def test_copy_for_colab_is_the_notebook_after_its_install_cell(project):
    if not (project / "book" / "_build" / "html" / "colab").is_dir():
        build(project, *STRICT)
    copy = json.loads((project / "book" / "_build" / "html" / "colab" / "00_one_spectrum.ipynb").read_text())
    install, *rest = copy["cells"]
    assert rest == json.loads((project / "notebooks" / "00_one_spectrum.ipynb").read_text())["cells"]
    head = git(project, "rev-parse", "HEAD").strip()
    line = install["source"][-1]
    assert line.startswith(f'%pip install --quiet "latentlib @ git+{ADDRESS}@{head}" ')


@pytest.mark.slow
def test_build_refuses_a_dead_link_in_raw_html(project, tmp_path):
    """Sphinx sees no reference in it, so only the finished page can tell."""
    book = tmp_path / "book"
    shutil.copytree(project, book, ignore=shutil.ignore_patterns("_build", ".git"))
    (book / "book" / "intro.md").write_text('# A\n\n<a href="nowhere.html">a</a> <a href="claims.html#nothing">b</a>\n')
    run = build(book, *STRICT)
    assert run.returncode != 0
    assert "intro.html: nowhere.html\nintro.html: claims.html#nothing\n" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_build_of_a_fresh_checkout_says_in_one_sentence_what_to_run(tmp_path):
    for name in tracked():
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    run = build(tmp_path, "--quiet")
    assert run.returncode != 0
    (sentence,) = filter(None, run.stderr.splitlines())
    assert sentence.startswith("run `make book`: it makes the pages this site still lacks (book/chapters/00")


# The copies for Colab -------------------------------------------------------------------------------------------------


def imported(path: Path) -> set[str]:
    """Distributions that a file imports, the standard library left out."""
    modules = {word.split(".")[0] for word in re.findall(r"(?m)^\s*(?:from|import) ([\w.]+)", path.read_text())}
    known = packages_distributions()
    return {known[module][0].lower() for module in modules - set(sys.stdlib_module_names) if module in known}


def test_requirements_cover_what_chapters_import():
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["book"]
    assert colab.LEFT_TO_COLAB <= {Requirement(text).name for text in asked}
    brought = {Requirement(text).name for text in colab.requirements(ROOT / "pyproject.toml")}
    assert not brought & colab.LEFT_TO_COLAB
    used = set().union(*map(imported, (ROOT / "notebooks").glob("*.py")))
    assert "torch" in used and used <= brought | {"latentlib", "torch", "numpy", "scipy", "ipython", "ipywidgets"}


def test_install_line_installs_from_a_repository(tmp_path):
    """A throwaway repository stands for the address; nothing beside the package is installed: no network is needed."""
    source, target_folder = tmp_path / "source", tmp_path / "target"
    shutil.copytree(ROOT / "latentlib", source / "latentlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "a")
    line = colab.install_line(ADDRESS, colab.commit_of(source), [])
    words = shlex.split(line.removeprefix("%"))
    assert words[:3] == ["pip", "install", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(target_folder)]
    place = {"KEY_0": f"url.{source.as_uri()}.insteadOf", "VALUE_0": ADDRESS, "COUNT": "1"}
    known = os.environ | {f"GIT_CONFIG_{name}": text for name, text in place.items()}
    subprocess.run([sys.executable, "-m", *words, *offline], check=True, cwd=tmp_path, env=known)
    code = f"import sys; sys.path.insert(0, {str(target_folder)!r}); import latentlib; print(latentlib.__file__)"
    run = subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert Path(run.stdout.strip()).parent == target_folder / "latentlib"


def test_push_copies_puts_them_alone_on_their_branch(tmp_path):
    checkout, remote, site = (tmp_path / name for name in ("checkout", "remote", "site"))
    for folder in (checkout, remote, site / "colab"):
        folder.mkdir(parents=True)
    git(remote, "init", "-q", "--bare")
    git(checkout, "init", "-q")
    (checkout / "a").write_text("a")
    git(checkout, "add", "a")
    git(checkout, "commit", "-q", "-m", "a")
    (site / "index.html").write_text("a")
    (site / "colab" / "00_a.ipynb").write_text("one")
    before = git(checkout, "rev-parse", "HEAD"), git(checkout, "status", "--porcelain")
    for text in ("one", "two"):  # a second publication replaces the first
        (site / "colab" / "00_a.ipynb").write_text(text)
        colab.push_copies(site, str(remote), checkout)
        assert git(remote, "ls-tree", "-r", "--name-only", "gh-pages").split() == ["colab/00_a.ipynb"]
        assert git(remote, "show", "gh-pages:colab/00_a.ipynb") == text
    assert git(remote, "rev-list", "--count", "gh-pages").strip() == "1"
    assert (git(checkout, "rev-parse", "HEAD"), git(checkout, "status", "--porcelain")) == before
