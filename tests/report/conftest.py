"""A suite's folder of the form that the suite leaves."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def suite_folder(module_at):
    """The module suite_folder.py beside this file."""
    return module_at(Path(__file__).with_name("suite_folder.py"))
