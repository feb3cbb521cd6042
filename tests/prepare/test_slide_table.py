import csv

from histo_simclr.prepare import slide_table
from histo_simclr.prepare.slide_table import Counts, Row

SIZE = {"width": 100, "height": 100}


def test_most_of_the_tissue_removed_is_a_warning():
    assert slide_table.removal(Row("a.svs", "a", pen=0.5, blur=0.3)) == ""
    warning = slide_table.removal(Row("a.svs", "a", pen=0.7, blur=0.15, speck=0.001))
    assert warning == "85% of its tissue removed (pen 70%, blur 15%)"


def test_counts_are_of_patches_and_removals_of_area():
    rows = [
        Row("a.svs", "a", status="ok", tissue=0.5, pen=0.2, **SIZE),
        Row("b.svs", "b", status="ok", tissue=0.25, width=200, height=200)
        .warned("look")
        .warned("at"),
        Row("c.svs", "c").ended("no_tissue", "no tissue found"),
    ]
    counts = Counts("C")
    counts.add(0.25, "H&E", "train", 3)
    counts.add(0.5, "", "train")
    counts.add(0.26, "H&E", "test", 2)
    found = counts.summary(rows)
    assert found["slides"] == {"ok": 2, "no_tissue": 1, "unreadable": 0, "no_mpp": 0, "failed": 0}
    assert found["patches"] == {
        "cohort": {"C": 6},
        "mpp": {"0.25": 3, "0.26": 2, "0.5": 1},
        "magnification": {"40x": 5, "20x": 1},
        "stain": {"H&E": 5, "unknown": 1},
        "split": {"train": 4, "test": 2},
    }
    # 0.2 of 5,000 px of tissue, of 15,000 px in both.
    assert found["removed"] == {"border": 0.0, "pen": round(1 / 15, 6), "blur": 0.0, "speck": 0.0}
    assert found["warnings"] == {"b.svs": "look; at"}
    assert "warning: b.svs: look; at" in slide_table.say(found)


def test_csv_has_one_line_a_slide(tmp_path):
    rows = [Row("a, b.svs", "a, b", mpp_x=0.2499999), Row("c.svs", "c")]
    slide_table.write_csv(tmp_path / "slides.csv", rows)
    with open(tmp_path / "slides.csv", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [row["wsi"] for row in found] == ["a, b.svs", "c.svs"]
    assert found[0]["mpp_x"] == "0.25"
