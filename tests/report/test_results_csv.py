import csv
import io
import json

import pytest

from histo_simclr.report import results_csv


def _float(text):
    return float(text) if text else None


def test_every_number_of_every_row_comes_back_unrounded(suite_folder):
    results = suite_folder.results()
    lines = list(csv.DictReader(io.StringIO(results_csv.scores(results))))
    expected = [(row, name) for row in results["rows"] for name in row["metrics"]]
    assert len(lines) == len(expected)
    for line, (row, name) in zip(lines, expected, strict=True):
        assert (line["task"], line["encoder"], line["metric"]) == (
            row["task"],
            row["encoder"],
            name,
        )
        assert (line["protocol"], line["subset"]) == (row["protocol"], row["subset"])
        assert _float(line["fraction"]) == row["fraction"]
        assert _float(line["shots"]) == row["shots"]
        assert (int(line["examples"]), int(line["seeds"])) == (row["examples"], row["seeds"])
        entry = row["metrics"][name]
        for key in ("value", "low", "high", "sd"):
            assert _float(line[key]) == entry[key]
        assert [_float(each) for each in line["per_seed"].split(";")] == entry["per_seed"]
        assert json.loads(line["chosen"]) == row["chosen"]


@pytest.mark.parametrize("note", ["", 'a, "b"\nc'])
def test_every_difference_comes_back(suite_folder, note):
    results = suite_folder.results()
    results["differences"][0]["note"] = note
    lines = list(csv.DictReader(io.StringIO(results_csv.differences(results))))
    assert len(lines) == len(results["differences"])
    for line, entry in zip(lines, results["differences"], strict=True):
        for key in ("value", "low", "high", "p", "p_holm"):
            assert _float(line[key]) == entry[key]
        for key in ("task", "protocol", "metric", "first", "second", "unit", "note"):
            assert line[key] == entry[key]
        assert (line["exact"], int(line["swaps"])) == (str(entry["exact"]), entry["swaps"])
