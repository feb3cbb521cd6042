"""Coverage-guided search for files that a parser answers wrongly, by atheris; no part of the tests.

    pip install atheris==3.0.0
    PYTHONPATH=. python tests/fuzz/coverage_guided.py plan_csv -max_total_time=120

plan_csv, geojson, mpp_table or registry_row, then flags of libFuzzer. What it finds ends the search
with a traceback and a file `crash-…` in the working folder; it becomes an example in the parser's
own tests.
"""

import csv
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["histo_simclr", "csv", "json"]):
    import parsers

    from histo_simclr.prepare import registry

PLAN = (
    b"wsi,slide,x,y,mpp,px,tissue,mpp_x,mpp_y,quickhash\n"
    b"a.svs,a,0,0,0.5,224,0.75,0.25,0.25,q\na.svs,a,9,0,0.5,224,0.75,0.25,0.25,q\n"
)
POLYGON = (
    b'[{"geometry": {"type": "Polygon", "coordinates": [[[20, 20], [220, 220], [220, 20], '
    b'[20, 220], [20, 20]]]}, "properties": {"classification": {"name": "Tissue"}}}]'
)
# Parser, name of the file that it is given, and a file to begin with.
FILES = {
    "plan_csv": (parsers.plan, "plan.csv", PLAN),
    "geojson": (parsers.region, "a.geojson", POLYGON),
    "mpp_table": (parsers.mpp_table, "mpp.csv", b"wsi,mpp\na.svs,0.25\n"),
}


def main() -> None:
    """Searches until a flag of libFuzzer, or a find, ends it."""
    name, *flags = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "corpus").mkdir()
        if name == "registry_row":
            check, first = _row, "\0".join(_first_row().values()).encode()
        else:
            parse, file, first = FILES[name]

            def check(data: bytes) -> None:
                (place / file).write_bytes(data)
                parse(place / file)

        (place / "corpus/first").write_bytes(first)
        atheris.Setup([sys.argv[0], *flags, str(place / "corpus")], check)
        atheris.Fuzz()


def _first_row() -> dict[str, str]:
    with registry.REGISTRY.open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file))


NAMES = list(_first_row())


def _row(data: bytes) -> None:
    cells = data.decode("utf-8", "replace").split("\0")
    cells += [""] * (len(NAMES) - len(cells))
    parsers.row_of_the_registry(dict(zip(NAMES, (cell.strip() for cell in cells), strict=False)))


if __name__ == "__main__":
    main()
