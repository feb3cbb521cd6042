"""What the tests of several cases look at."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def traced() -> Callable[[dict], int]:
    """traced(result): number of steps in the trace of a case, which opens."""

    def count(result: dict) -> int:
        with gzip.open(result["profile"]["perfetto"], "rt") as file:
            names = [event.get("name", "") for event in json.load(file)["traceEvents"]]
        assert names.count("step") == result["profile"]["steps"]
        assert Path(result["profile"]["xplane"]).stat().st_size > 1000
        return names.count("step")

    return count
