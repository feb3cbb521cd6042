"""A look at two slides, one of them real, end to end: files, and pages as Chromium shows them."""

import html.parser
import json
import re
import shutil
import subprocess
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from histo_simclr.errors import InputError
from histo_simclr.maps import look, neighbor_index, probe_files
from histo_simclr.maps.look import Settings
from histo_simclr.maps.probe_files import Probe

# What a file may be called: it must be shown as it is, and lead to its page.
STRANGE = "b <i>&amp; #1 ü"
CHROMIUM = shutil.which("chromium")
# As in tests/report/test_document.py.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--hide-scrollbars", "--virtual-time-budget=5000"]
SETTINGS = Settings(clusters=3, near=4)


@pytest.fixture(scope="module")
def features(tmp_path_factory, trident, grid, tissue_features):
    folder = tmp_path_factory.mktemp("features")
    trident(folder, "a", tissue_features(80, seed=1), grid(8, 10, 256), side=256)
    trident(folder, STRANGE, tissue_features(30, seed=2), grid(6, 5, 100), side=100)
    return folder


@pytest.fixture(scope="module")
def probe():
    weights = np.zeros((12, 2))
    weights[:, 1] = np.linspace(-1, 1, 12)
    return Probe(weights, np.zeros(2), ["normal", "tumor </script>"], "")


@pytest.fixture(scope="module")
def places(tmp_path_factory, cmu, write_tiff, noise):
    folder = tmp_path_factory.mktemp("slides")
    return {"a": str(cmu), STRANGE: str(write_tiff(folder / "b.tif", [noise(600, 700)]))}


@pytest.fixture(scope="module")
def make(features, places, probe):
    def made(out, **changes):
        about = {"places": places, "probe": probe, "said_of_probe": "a probe"}
        about |= {"settings": SETTINGS} | changes
        return look.look(about.pop("features", features), out, **about)

    return made


@pytest.fixture(scope="module")
def looked(tmp_path_factory, make):
    index = make(tmp_path_factory.mktemp("look") / "out")
    assert index.name == "index.html"
    return index.parent


def page(folder, slide):
    return (folder / "slides" / f"{slide}.html").read_text(encoding="utf-8")


def data_of(folder, slide):
    found = re.search(
        '<script type="application/json" id="data">(.*?)</script>', page(folder, slide)
    )
    return json.loads(found[1])


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_every_slide_has_a_page_and_a_geojson(looked, features):
    files = {str(each.relative_to(looked)) for each in looked.rglob("*") if each.is_file()}
    pages = {f"slides/{name}.html" for name in ("a", STRANGE)}
    tiles = {f"qupath/{name}.geojson" for name in ("a", STRANGE)}
    assert files == pages | tiles | {"index.html", "probe.npz"}
    assert [each.name for each in looked.parent.iterdir()] == ["out"]


def test_the_index_leads_to_all_of_them(looked):
    read = Tags((looked / "index.html").read_text(encoding="utf-8"))
    links = [urllib.parse.unquote(link["href"]) for link in read.all("a")]
    links = [link for link in links if not link.startswith("#")]
    assert len(links) == 4
    assert all((looked / link).is_file() for link in links)
    assert STRANGE in read.text


def test_nothing_is_loaded_from_anywhere(looked):
    for name in ("a", STRANGE):
        text = page(looked, name)
        read = Tags(text)
        for tag, attributes in read.tags:
            assert not attributes.keys() & {"src", "srcset", "action", "data"}, tag
            assert attributes.get("href", "../index.html") == "../index.html"
        (policy,) = (each for each in read.all("meta") if "http-equiv" in each)
        assert policy["content"].startswith("default-src 'none'; img-src data:;")
        assert "unsafe-inline" not in policy["content"].split("script-src")[1]
        # Names cannot open a tag: two scripts, ours, and no <i> of a slide's name.
        assert len(read.all("script")) == 2
        assert not read.all("i")


def test_the_geojson_measures_every_patch(looked, probe, features):
    import h5py

    for name in ("a", STRANGE):
        tiles = json.loads((looked / "qupath" / f"{name}.geojson").read_text(encoding="utf-8"))
        with h5py.File(features / f"{name}.h5") as file:
            vectors, coords = file["features"][:], file["coords"][:]
        corners = [each["geometry"]["coordinates"][0][0] for each in tiles["features"]]
        assert corners == coords.tolist()
        expected = probe_files.probabilities(probe, vectors)[:, 1]
        found = [
            each["properties"]["measurements"]["probability: tumor </script>"]
            for each in tiles["features"]
        ]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_equal_arguments_give_equal_bytes(looked, make, tmp_path):
    again = make(tmp_path / "again").parent
    for file in looked.rglob("*"):
        if file.is_file() and file.suffix != ".npz":
            assert file.read_bytes() == (again / file.relative_to(looked)).read_bytes(), file


def test_a_large_page_is_bounded_and_says_what_it_leaves_out(
    make, tmp_path, trident, grid, tissue_features, cmu
):
    folder = tmp_path / "features"
    for number in range(2):
        trident(folder, f"s{number}", tissue_features(3000, number), grid(60, 50, 30), side=30)
    index = make(
        tmp_path / "out",
        features=folder,
        places={"s0": str(cmu), "s1": str(cmu)},
        settings=Settings(patches=1000, pictures=40, gallery=2000),
    )
    data = data_of(index.parent, "s0")
    assert (data["count"], len(data["pictures"])) == (1000, 40)
    text = Tags(page(index.parent, "s0")).text
    assert "1,000 of them drawn here" in text
    assert "among 2,000 patches of 2 slides (drawn from 6,000)" in text
    tiles = json.loads((index.parent / "qupath" / "s0.geojson").read_text(encoding="utf-8"))
    assert len(tiles["features"]) == 3000


def test_the_largest_page_stays_below_what_readme_says(
    make, tmp_path, trident, grid, tissue_features, write_tiff, noise, monkeypatch
):
    """12 MB, with the most patches, neighbors of six, 32 classes, and pictures of pure noise."""
    monkeypatch.setattr(neighbor_index, "EXACT_UP_TO", 1_000_000)
    many = 20_000
    folder = tmp_path / "features"
    for name in "ab":
        trident(folder, name, tissue_features(many, ord(name)), grid(200, 100, 8), side=64)
    slide = str(write_tiff(tmp_path / "loud.tif", [noise(900, 1700)]))
    wide = Probe(np.random.default_rng(0).normal(size=(12, 32)), np.zeros(32), ["class"] * 32, "")
    settings = Settings(pictures=2000, gallery=3000)
    index = make(
        tmp_path / "out", features=folder, places=dict.fromkeys("ab", slide), probe=wide,
        settings=settings,
    )  # fmt: skip
    assert 3e6 < len(page(index.parent, "a")) < 12e6


def test_without_slides_there_is_a_map_all_the_same(make, tmp_path):
    index = make(tmp_path / "out", places={}, probe=None, said_of_probe="")
    data = data_of(index.parent, "a")
    assert (data["thumbnail"], data["pictures"]) == (None, [])
    assert data["size"] == [2048, 2560]
    assert "the slide's file is not at hand" in Tags(page(index.parent, "a")).text
    assert not (index.parent / "probe.npz").exists()


def test_a_broken_slide_is_named_and_the_others_are_shown(make, tmp_path, places, capsys):
    torn = tmp_path / "torn.svs"
    torn.write_bytes(b"II*\0")
    index = make(tmp_path / "out", places=places | {STRANGE: str(torn)})
    assert f"{STRANGE}: no picture, or not all: no reader opens it" in capsys.readouterr().err
    assert data_of(index.parent, "a")["thumbnail"]
    assert data_of(index.parent, STRANGE)["thumbnail"] is None


def test_a_slide_without_patches_says_so(make, tmp_path, trident, grid, tissue_features):
    folder = tmp_path / "features"
    trident(folder, "full", tissue_features(12, 0), grid(4, 3))
    trident(folder, "empty", np.ones((0, 12)), np.ones((0, 2)))
    index = make(tmp_path / "out", features=folder, places={})
    assert "This slide has no patches" in Tags(page(index.parent, "empty")).text
    assert (index.parent / "qupath" / "empty.geojson").is_file()


def test_a_single_slide_is_its_own_gallery(make, tmp_path, trident, grid, tissue_features):
    folder = tmp_path / "features"
    trident(folder, "one", tissue_features(12, 0), grid(4, 3))
    index = make(tmp_path / "out", features=folder, places={})
    assert "among 12 patches of 1 slide, of this slide only" in Tags(page(index.parent, "one")).text


@pytest.mark.parametrize("trouble", ["exists", "no folder"])
def test_where_it_cannot_write_it_says_so_and_leaves_nothing(make, tmp_path, trouble):
    out = tmp_path / "out"
    if trouble == "exists":
        out.mkdir()
    else:
        (tmp_path / "file").write_text("")
        out = tmp_path / "file" / "out"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="exists|cannot be written"):
        make(out)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(make, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(look.Path, "write_text", full)
    with pytest.raises(InputError, match="No space left on device"):
        make(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_probe_of_other_features_is_refused_before_anything_is_written(make, tmp_path):
    other = Probe(np.ones((5, 2)), np.zeros(2), ["a", "b"], "")
    with pytest.raises(InputError, match="is for 5 features, the slides have 12"):
        make(tmp_path / "out", probe=other)
    assert list(tmp_path.iterdir()) == []


def _chromium(tmp_path, *arguments):
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def _address(looked, slide):
    return (looked / "slides" / f"{slide}.html").as_uri()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: nothing ran the script")
def test_a_link_to_a_patch_shows_its_neighbors_of_the_other_slide(looked, features, tmp_path):
    import h5py

    drawn = Tags(_chromium(tmp_path, "--dump-dom", _address(looked, "a") + "#512_768"))
    assert "level-0 px512, 768cluster" in re.sub(r"\s+(?=\S)", lambda m: m[0][:1], drawn.text)
    shown = [link["title"] for link in drawn.all("a") if "#" in link.get("href", "")][:4]
    vectors = {}
    for name in ("a", STRANGE):
        with h5py.File(features / f"{name}.h5") as file:
            vectors[name] = file["features"][:], file["coords"][:]
    mine, coords = vectors["a"]
    (row,) = np.flatnonzero((coords == (512, 768)).all(1))
    other = vectors[STRANGE][0] / np.linalg.norm(vectors[STRANGE][0], axis=1, keepdims=True)
    order = np.argsort(-(other @ mine[row]))[:4]
    corners = vectors[STRANGE][1][order].tolist()
    assert shown == [f"{STRANGE} at {x}, {y}" for x, y in corners]
    best = other[order[0]] @ mine[row] / np.linalg.norm(mine[row])
    assert f"cosine {best:.3f}" in drawn.text
    assert all(image["src"].startswith("data:image/jpeg") for image in drawn.all("img"))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: nothing ran the script")
def test_what_is_clicked_and_switched_is_what_is_drawn(looked, tmp_path):
    """The policy lets no other script run; the copy that is looked at has one, to click."""
    text = re.sub("script-src '[^']*'", "script-src 'unsafe-inline'", page(looked, "a"))
    asked = """<script>addEventListener("load", () => {
      const map = at("map"), found = {}, box = map.getBoundingClientRect();
      const pixel = () => [...map.getContext("2d").getImageData(
        Math.floor(300 * scale), Math.floor(300 * scale), 1, 1).data.slice(0, 3)].join();
      at("opacity").value = 100;
      draw();
      for (const by of ["cluster", "rgb", "probe", "none"]) {
        document.querySelector(`input[value=${by}]`).click();
        found[by] = pixel();
      }
      document.querySelector("input[value=probe]").click();
      at("class").value = 1;
      at("class").dispatchEvent(new Event("input", {bubbles: true}));
      found.second = pixel();
      map.dispatchEvent(new MouseEvent("click", {bubbles: true,
        clientX: box.left + 300 * scale, clientY: box.top + 300 * scale}));
      found.clicked = [x[chosen], y[chosen]];
      map.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
      found.right = [x[chosen], y[chosen]];
      map.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowDown"}));
      found.down = [x[chosen], y[chosen]];
      found.wide = [document.documentElement.scrollWidth, innerWidth];
      found.row = [cluster[9], ...rgb.slice(27, 30), probabilities[18], probabilities[19]];
      document.title = JSON.stringify(found);
    })</script></body>"""
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", asked), encoding="utf-8")
    size = "--window-size=1200,900"
    drawn = _chromium(tmp_path, size, "--dump-dom", copy.as_uri())
    found = json.loads(html.unescape(re.search("<title>(.*?)</title>", drawn)[1]))
    colors = {0: "0,114,178", 1: "230,159,0", 2: "0,158,115"}
    number, *rgb, first, second = found["row"]
    assert found["cluster"] == colors[number]
    assert found["rgb"] == ",".join(map(str, rgb))
    assert first + second in (254, 255, 256)
    # Of two classes one is as likely as the other is not; neither is the tissue itself.
    assert len({found["probe"], found["second"], found["none"]}) == 3
    assert found["clicked"] == [256, 256]
    assert found["right"] == [512, 256]
    assert found["down"] == [512, 512]
    assert found["wide"][0] <= found["wide"][1]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: nothing ran the script")
def test_the_page_has_ink_where_there_is_tissue(looked, tmp_path):
    shot = tmp_path / "shot.png"
    address = _address(looked, "a")
    _chromium(tmp_path, "--window-size=1200,900", f"--screenshot={shot}", address)
    with Image.open(shot) as file:
        pixels = np.asarray(file.convert("HSV"))
    assert pixels.shape == (900, 1200, 3)
    # The map at the left is colored, the panel at the right is not empty.
    assert (pixels[300:800, 100:400, 1] > 60).mean() > 0.2
    assert (pixels[100:800, 820:, 2] < 128).any()
