"""The report of a made-up suite, read as a browser reads it: by html.parser, and by Chromium."""

import base64
import html.parser
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from histo_simclr.errors import InputError
from histo_simclr.report import document as report
from histo_simclr.report import words

VOID = {"meta", "img", "br", "link", "input", "hr"}
CHROMIUM = shutil.which("chromium")
# No display, no profile, and no service of the browser that asks the network.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--hide-scrollbars"]


class Read(html.parser.HTMLParser):
    """Checks that tags close as they opened, and keeps what tests ask for."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.texts, self.tables = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += f" {data.strip()}"

    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def rows(self) -> list[list[str]]:
        return [[" ".join(cell.split()) for cell in row] for table in self.tables for row in table]

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def suite(tmp_path_factory, suite_folder):
    folder = suite_folder.write(tmp_path_factory.mktemp("suite") / "run")
    assert report.write(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def read(suite):
    return Read((suite / "report.html").read_text(encoding="utf-8"))


def _written(folder, suite_folder, change, **options):
    results = suite_folder.small()
    change(results)
    return Read(report.write(suite_folder.write(folder, results, **options)).read_text())


def test_nothing_is_loaded_from_anywhere(suite, read):
    text = (suite / "report.html").read_text(encoding="utf-8")
    for tag, attributes in read.tags:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            if address := attributes.get(name):
                assert address.startswith(("data:", "#")), f"<{tag} {name}={address[:60]}>"
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in read.tags}
    style = re.search("<style>(.*?)</style>", text, re.S)[1]
    assert not re.search(r"url\(|@import", style)
    (policy,) = (each for each in read.all("meta") if "http-equiv" in each)
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_the_page_can_be_read_without_eyes(read):
    assert read.all("html") == [{"lang": "en"}]
    assert all(image["alt"].strip() for image in read.all("img"))
    assert all(head["scope"] in ("col", "row") for head in read.all("th"))
    assert len(read.all("caption")) == len(read.all("table")) > 10
    anchors = [section["id"] for section in read.all("section")]
    assert [link["href"] for link in read.all("a")] == [f"#{anchor}" for anchor in anchors]


def test_names_are_escaped(suite, suite_folder, read):
    text = (suite / "report.html").read_text(encoding="utf-8")
    assert suite_folder.OURS not in text
    assert "viable & <x>" not in text
    assert suite_folder.OURS in read.text()
    assert "viable & <x>" in read.text()


def test_every_score_is_there_with_its_interval_and_spread(suite_folder, read):
    rows = read.rows()
    for entry in suite_folder.results()["rows"]:
        shown = entry["metrics"] if entry["subset"] == "100 %" else ("macro_f1",)
        for name in shown:
            value, times = entry["metrics"][name], 100 if name == "l1" else 1
            wanted = words.NONE
            if value["value"] is not None:
                digits = 1 if name == "l1" else 3
                numbers = (f"{value[key] * times:.{digits}f}" for key in ("value", "low", "high"))
                wanted = "{} [{}, {}]".format(*numbers)
            if value["sd"] is not None:
                wanted += f" ± {value['sd']:.3f} (3 seeds)"
            assert any(
                cell.startswith(wanted)
                for row in rows
                if entry["encoder"] in row[:2]
                for cell in row
            ), (entry["task"], entry["encoder"], entry["protocol"], entry["subset"], name)


def test_classes_are_told_one_by_one(suite_folder, read):
    rows = read.rows()
    for entry in suite_folder.results()["rows"]:
        # Of k nearest neighbors and the like they are in results.json alone.
        if not entry["per_class"] or entry["protocol"] == "knn":
            continue
        names = ("f1", "precision", "recall")
        names = names if "f1" in entry["per_class"][0] else ("dice", "iou", "object_f1")
        for each in entry["per_class"]:
            first, second, third = (words.number(each[name]) for name in names)
            wanted = f"{first} {second} / {third}"
            assert any(row[0] == each["class"] and wanted in row for row in rows)


def test_what_a_row_notes_and_a_look_leaves_out_is_said(read):
    assert any("C = 0.01 is at the end of the strengths tried" in row for row in read.rows())
    assert "Drift: Left out: no encoder." in read.text()


def test_averages_differences_and_p_values_are_there(suite_folder, read):
    results, rows = suite_folder.results(), read.rows()
    for entry in results["averages"]:
        assert any(
            entry["encoder"] == row[0] and row[-1].startswith(f"{entry['value']:.3f}")
            for row in rows
        )
    for entry in results["differences"]:
        value, low, high = (
            f"{entry[key]:+.3f}".replace("-", "\N{MINUS SIGN}") for key in ("value", "low", "high")
        )
        pair = f"{entry['first']} \N{MINUS SIGN} {entry['second']}"
        (row,) = (row for row in rows if row[:2] == [entry["task"], pair] and value in row[3])
        assert row[3] == f"{value} [{low}, {high}]"
        assert float(row[4]) == pytest.approx(entry["p"], rel=0.06)
        assert float(row[5]) == pytest.approx(entry["p_holm"], rel=0.06)


def test_parts_stand_in_the_order_in_which_they_are_read(read):
    heads = [" ".join(text.split()) for text in read.texts]
    wanted = ["What was evaluated", "Leak checks", "Frozen encoders (as in the paper's Table 2)"]
    wanted += ["Fine-tuned encoders (as in the paper's Table 1)", "Regression", "Segmentation"]
    wanted += ["Differences between encoders", "Ranks over tasks", "Few labels"]
    wanted += ["Confusion matrices, classes", "Calibration", "Segmentation pictures"]
    wanted += ["A look at the features", "Skipped, notes", "How to reproduce"]
    places = [len(heads) - 1 - heads[::-1].index(each) for each in wanted]
    assert places == sorted(places)


def test_the_papers_numbers_are_there_and_called_another_scale(read):
    rows = read.rows()
    assert ["self-supervised", "69.3", "69.6"] in rows  # frozen: R18, R50
    assert ["random init", "55.7", "55.3"] in rows  # fine-tuned
    assert ["self-supervised", "74.0", "66.7", "65.9"] in rows  # segmentation: R18, R50, R101
    assert ["self-supervised", "6.6"] in rows  # L1 x 100
    assert read.text().count("The paper's numbers, not comparable") >= 4


@pytest.mark.parametrize(
    ("low", "high", "badge"),
    [(0.01, 0.2, ""), (-0.01, 0.2, "not better than"), (-0.2, -0.01, "worse than")],
)
@pytest.mark.parametrize("task", ["pcam", "cellularity"])
def test_an_encoder_not_shown_to_be_better_than_a_floor_carries_a_badge(
    tmp_path, suite_folder, task, low, high, badge
):
    """Of an error such as L1, less is better."""
    flip = -1 if task == "cellularity" else 1
    protocol = "ridge" if task == "cellularity" else "linear"

    def change(results):
        for each in results["differences"]:
            if (each["task"], each["protocol"]) == (task, protocol):
                each["low"], each["high"] = sorted((low * flip, high * flip))
                each["p_holm"], each["note"] = 0.01, ""

    written = _written(tmp_path / "run", suite_folder, change, looks=False)
    (table,) = (each for each in written.tables if f"{task}:" in each[0][1])
    cells = {" ".join(row[0].split()): " ".join(row[1].split()) for row in table}
    expected = f"{badge} random init, color histogram" if badge else ""
    assert cells[suite_folder.OURS].partition("] ")[2] == expected
    assert "than" not in cells["color histogram"]
    count = 0 if badge else 1
    said = f"{suite_folder.OURS}: shown to be better than every floor on {count} of 1 task"
    assert said in written.text()


def test_macro_f1_is_shown_beside_another_metric_that_decides(tmp_path, suite_folder):
    written = _written(
        tmp_path / "run",
        suite_folder,
        lambda results: results["tasks"]["pcam"].update(metric="balanced_accuracy"),
        looks=False,
    )
    assert ["encoder", "pcam: macro-F1", "pcam: balanced accuracy"] in written.rows()


def test_leaks_are_red_and_what_was_not_looked_at_is_said(read, tmp_path, suite_folder):
    text = read.text()
    assert "1 leak found" in text
    (row,) = (row for row in read.rows() if "3 of 240" in row)
    assert row[:2] == ["osteosarcoma", suite_folder.OURS]
    assert {"class": "bad"} in read.all("tr")
    assert "only pixels were compared" in text

    def clean(results):
        results["tasks"]["pcam"]["leaks"] = {}

    written = _written(tmp_path / "run", suite_folder, clean, looks=False)
    assert "leak found" not in written.text()
    assert {"class": "bad"} not in written.all("tr")
    assert "No test patient, slide or picture was found where it should not be" in written.text()
    assert "Not checked: pcam." in written.text()


def test_what_is_missing_is_one_line_and_no_empty_figure(tmp_path, suite_folder):
    def change(results):
        kept = [row for row in results["rows"] if row["protocol"] == "linear"]
        results |= {"rows": kept, "differences": []}

    written = _written(tmp_path / "run", suite_folder, change, looks=False)
    assert not written.all("img")
    line = re.search(r"Not part of this suite: ([^.]*)\.", written.text())[1]
    assert re.split(", (?!classes)", line) == [
        "fine-tuned encoders",
        "regression",
        "segmentation",
        "slides",
        "differences between encoders",
        "fine-tuned against frozen",
        "ranks over tasks",
        "few labels",
        "confusion matrices, classes",
        "calibration",
        "segmentation pictures",
        "a look at the features",
    ]


def test_an_empty_suite_is_a_report_too(tmp_path, suite_folder):
    def change(results):
        for key in ("rows", "differences", "averages", "skipped", "notes"):
            results[key] = []
        for key in ("tasks", "encoders", "ranking"):
            results[key] = {}

    assert "0 tasks" in _written(tmp_path / "run", suite_folder, change, looks=False).text()


def test_numbers_that_are_not_defined_are_dashes_everywhere(tmp_path, suite_folder):
    def change(results):
        for row in results["rows"]:
            for entry in row["metrics"].values():
                entry |= dict.fromkeys(("value", "low", "high", "sd"))
        for each in results["differences"]:
            each |= dict.fromkeys(("value", "low", "high", "p", "p_holm"))
        ranks = {"encoders": ["imagenet", suite_folder.OURS], "ranks": [None, None], "alike": []}
        ranks |= {"statistic": None, "p": None, "critical_difference": None, "tasks": 0}
        results["ranking"]["linear"] = ranks

    text = _written(tmp_path / "run", suite_folder, change, looks=False).text()
    assert not re.search(r"\bnan\b|\bNone\b", text)


def test_pictures_come_along_and_a_missing_one_is_named(tmp_path, suite_folder):
    folder = suite_folder.write(tmp_path / "run", suite_folder.small())
    (folder / "looks/0/neighbors.png").unlink()
    (folder / "looks/1/neighbors.png").write_bytes(b"no picture")
    (tmp_path / "outside.png").write_bytes((folder / "pictures/glands.png").read_bytes())
    results = json.loads((folder / "results.json").read_text())
    results["rows"][0]["pictures"] = ["../outside.png", "pictures/glands.png"]
    (folder / "results.json").write_text(json.dumps(results))
    written = Read(report.write(folder).read_text(encoding="utf-8"))
    sources = [image["src"] for image in written.all("img")]
    assert sum(source.startswith("data:image/png;base64,") for source in sources) == 1
    assert "looks/0/neighbors.png cannot be read" in written.text()
    assert "looks/1/neighbors.png is not a PNG or JPEG file" in written.text()
    assert "../outside.png is not in the suite's folder" in written.text()


def test_equal_results_give_equal_bytes_and_nothing_is_left_beside_them(tmp_path, suite_folder):
    made = []
    for name in ("a", "b"):
        folder = suite_folder.write(tmp_path / name, suite_folder.small())
        before = set(folder.iterdir())
        report.write(folder)
        made.append({path.name: path.read_bytes() for path in set(folder.iterdir()) - before})
    assert made[0].keys() == {"report.html", "results.csv", "differences.csv"}
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "does not exist"),
        ("", "cannot be read"),
        ('{"format": 1, "tasks": {', "cannot be read"),
        ("[]", "no results of format 1"),
        ('{"format": 2}', "no results of format 1 \\(found: 2\\)"),
        ('{"format": 1}', "lacks 'date'"),
    ],
)
def test_results_that_cannot_be_used_are_one_clear_line(tmp_path, content, complaint):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=complaint) as caught:
        report.write(tmp_path)
    assert "results.json" in caught.value.where
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda results: results["rows"][3].pop("metrics"), r"rows\[3\] lacks 'metrics'"),
        (lambda results: results["rows"][0].update(task="gone"), r"rows\[0\] is of 'gone'"),
        (lambda results: results["tasks"]["pcam"].pop("leaks"), r"tasks\['pcam'\] lacks 'leaks'"),
        (lambda results: results.update(rows=[1]), r"rows\[0\] lacks 'task'"),
    ],
)
def test_results_without_a_part_name_it(tmp_path, suite_folder, change, complaint):
    with pytest.raises(InputError, match=complaint):
        _written(tmp_path / "run", suite_folder, change, looks=False)


def test_a_torn_look_is_one_clear_line(tmp_path, suite_folder):
    folder = suite_folder.write(tmp_path / "run", suite_folder.small())
    (folder / "looks/0.json").write_text('{"encoder": "imagenet"')
    with pytest.raises(InputError, match=r"0\.json: cannot be read"):
        report.write(folder)


def _chromium(tmp_path, *arguments: str) -> str:
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: html.parser alone looked")
@pytest.mark.parametrize("width", [500, 1200])
def test_a_real_browser_shows_it_whole_at_every_width(suite, read, tmp_path, width):
    """The page holds no script; the copy that is looked at has one, to ask for what was drawn.

    Chromium's window without a head is 500 px or wider.
    """
    text = (suite / "report.html").read_text(encoding="utf-8")
    asked = """<script>addEventListener("load", () => {
      const images = [...document.images], wide = document.documentElement.scrollWidth;
      const broken = images.filter(each => !(each.complete && each.naturalWidth > 0)).length;
      document.title = JSON.stringify({images: images.length, broken, wide, inner: innerWidth});
    })</script></body>"""
    copy = tmp_path / "copy.html"
    allowed = text.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    copy.write_text(allowed.replace("</body>", asked), encoding="utf-8")
    size = f"--window-size={width},2000"
    drawn = Read(_chromium(tmp_path, size, "--dump-dom", copy.as_uri()))
    found = json.loads(re.search(r"\{.*?\}", drawn.text())[0])
    assert found["images"] == len(read.all("img")) > 10
    assert found["broken"] == 0
    # Tables and figures are moved within themselves: the page itself never is.
    assert found["wide"] <= found["inner"] == width
    assert drawn.rows() == read.rows()
    shot = tmp_path / "shot.png"
    _chromium(tmp_path, size, f"--screenshot={shot}", (suite / "report.html").as_uri())
    with Image.open(shot) as file:
        pixels = np.asarray(file.convert("L"))
    assert pixels.shape == (2000, width)
    # Ink in every tenth of its height: nothing lies on top of anything, or below an empty screen.
    assert all((part < 128).any() for part in np.array_split(pixels, 10))


def test_large_pictures_are_embedded_small_and_look_the_same(tmp_path):
    from histo_simclr.report import looks

    side = np.linspace(0, 255, 600).astype(np.uint8)
    smooth = np.stack([np.tile(side, (600, 1)), np.tile(side[:, None], (1, 600))] * 2, -1)[..., :3]
    noise = np.random.default_rng(0).integers(0, 24, smooth.shape, np.uint8)
    tissue = smooth // 2 + noise
    Image.fromarray(tissue).save(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > looks.LARGE
    figure = looks.picture(tmp_path, "sheet.png", title="sheet", caption="")
    kind, _, content = figure.source.partition(";base64,")
    assert kind == "data:image/jpeg"
    with Image.open(io.BytesIO(base64.b64decode(content))) as shown:
        assert shown.size == (600, 600)
        assert np.abs(np.asarray(shown, int) - tissue).mean() < 8
    assert len(content) < (tmp_path / "sheet.png").stat().st_size / 2


def test_what_features_tell_of_the_source_stands_side_by_side(read):
    (row,) = [cells for cells in read.rows() if cells[1:3] == ["cohort, stain", "robustness index"]]
    assert row[0] == "all tasks"
    assert row[3:5] == ["0.61", "0.71"]


def test_whether_fine_tuning_beats_the_frozen_encoder_is_said(read, suite_folder):
    (row,) = [cells for cells in read.rows() if len(cells) == 11 and "+0.043" in cells[4]]
    assert row[:2] == ["pcam", suite_folder.OURS]
    assert row[2].startswith("fine-tuned")
    assert row[9] == "better"
