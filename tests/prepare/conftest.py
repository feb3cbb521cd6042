import logging
import socket
from pathlib import Path

import pytest

from histo_simclr.prepare import write
from histo_simclr.prepare.item import Item
from histo_simclr.prepare.patches import Cutting
from histo_simclr.prepare.record_set import Cohort


@pytest.fixture(scope="session")
def images(module_at):
    """The module images.py beside this file."""
    return module_at(Path(__file__).with_name("images.py"))


@pytest.fixture
def prepare(tmp_path):
    """prepare() with the settings that a test does not care about; returns the record set."""

    def call(source, *, name="Set A", out=tmp_path / "records", px=32, cut=None, **given):
        settings = {"pattern": "", "labels": "", "max_rejected": 0.0, "workers": 1} | given
        encoding = settings.pop("encoding", "jpeg")
        commercial_use = settings.pop("commercial_use", "yes")
        known = {"split": "train", "organ": "colon", "stain": "H&E", "mpp": 0.5}
        known |= settings.pop("known", {})
        return write.prepare(
            [str(each) for each in (source if isinstance(source, list) else [source])],
            out=out,
            cohort=Cohort(name, "CC0-1.0", commercial_use, "Doe 2020", "https://example.org"),
            cutting=Cutting(px, cut or px, encoding, 90),
            defaults=Item("", "", **known),
            **settings,
        )

    return call


@pytest.fixture(scope="session")
def bucket():
    """gs://slides, a bucket of Google's store, emulated in this process; for its children too."""
    server_of = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    server = server_of.create_server("localhost", port, in_memory=True, default_bucket="slides")
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
        patch.setenv("NO_GCE_CHECK", "true")  # asks no metadata server for a password
        # Kinds of buckets that the emulator does not know: gcsfs would ask for a minute.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield "gs://slides"
    server.stop()
