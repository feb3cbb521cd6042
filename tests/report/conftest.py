"""A suite's folder of the form that the suite leaves."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def suite_folder():
    """The module suite_folder.py beside this file (tests are no package)."""
    place = Path(__file__).with_name("suite_folder.py")
    spec = importlib.util.spec_from_file_location("suite_folder", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
