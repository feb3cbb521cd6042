"""Labelled sets by TFDS name, through a builder that TFDS itself runs."""

import numpy as np
import tensorflow_datasets as tfds

from histo_simclr import records
from histo_simclr.evaluate import labelled
from histo_simclr.provenance import Provenance

COUNTS = {"train": 12, "test": 6}


class ToyTissue(tfds.core.GeneratorBasedBuilder):
    """Gray squares of two levels; known to TFDS as toy_tissue."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(16, 16, 3), encoding_format="png")
        label = tfds.features.ClassLabel(names=["dark", "light"])
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"image": image, "label": label})
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(count) for split, count in COUNTS.items()}

    def _generate_examples(self, count):
        for i in range(count):
            yield (
                i,
                {"image": np.full((16, 16, 3), 60 + 120 * (i % 2) + i, np.uint8), "label": i % 2},
            )


def test_a_tfds_name_becomes_a_record_set_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    path = labelled.prepare_tfds("tfds:toy_tissue", px=16, out=tmp_path / "records")
    opened = labelled.open_splits(path, "train", "test")
    assert opened.classes == ["dark", "light"]
    for part, labels, count in zip(opened.record_sets, opened.labels, COUNTS.values(), strict=True):
        assert part.rows.px == 16
        assert np.bincount(labels).tolist() == [count // 2, count // 2]
        levels = part.columns["mean_r"] * 255
        assert levels[labels == 0].max() < 120 < levels[labels == 1].min()
    written = (path / "manifest.parquet").stat().st_mtime_ns
    again = labelled.prepare_tfds("tfds:toy_tissue", px=16, out=tmp_path / "records")
    assert again == path == records.resolve_record_set(tmp_path / "records")
    assert (path / "manifest.parquet").stat().st_mtime_ns == written


def test_cohorts_that_the_encoder_or_what_it_started_from_saw_are_noted(toy):
    opened, looks = labelled.open_splits(toy, "train", "test"), (0.5, 0.5, 0.5)

    def saw(cohort, origin):
        mix = {"cohorts": {cohort: {}}}
        return Provenance("resnet18", 0, 0, 32, looks, looks, (), mix, {}, {}, "", origin)

    general = saw("toy", {})
    adapted = saw("ours", {"init_from": {"provenance": general.to_json()}})
    for provenance, whose in ((general, ""), (adapted, " of the weights it started from")):
        notes = labelled.notes(opened, provenance, validated_by_group=True)
        wanted = f"the pretraining mix{whose} holds patches of toy too, without labels"
        assert [each for each in notes if "holds patches" in each] == [wanted]
