"""The files of one record set while they grow: shards, manifest, rejections, metadata."""

import collections
import contextlib
import csv
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import beside
from histo_simclr.prepare import plan as planning
from histo_simclr.prepare.item import Item
from histo_simclr.prepare.manifest import ManifestWriter
from histo_simclr.prepare.patches import Cutting, Patch, Result
from histo_simclr.prepare.progress import Progress
from histo_simclr.prepare.tfrecord import Schema, ShardWriter, write_metadata
from histo_simclr.records import MOMENT_FIELDS, PERCEPTUAL_FIELD, TARGET_FIELD

VERSION = "1.0.0"


class Cohort(NamedTuple):
    """What record_set.json says of the data's origin; empty where unknown.

    Fields:
      name: as people write it; the folder's name is made from it.
      license: e.g. "CC BY 4.0".
      commercial_use: "yes", "no" or "unknown".
      citation, url: whom to credit and where it came from.
    """

    name: str
    license: str
    commercial_use: str
    citation: str
    url: str


def slug(name: str) -> str:
    """A cohort's name as TFDS takes it: lower case, digits and `_`, a letter first."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not plain:
        raise InputError(f"{name!r} is no name", where="--name", way_out="use letters or digits")
    return plain if plain[0].isalpha() else f"set_{plain}"


class RecordSetWriter:
    """Writes one record set into an empty folder.

    Args:
      folder: where; it is named and moved by the caller.
      name: TFDS name, see `slug`.
      cohort, cutting: what the data are and how they are cut.
      plan: what the source will give.
      mask_class_names: names of the classes of masks; None: patches have no masks.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        cohort: Cohort,
        cutting: Cutting,
        plan: planning.Plan,
        mask_class_names: Sequence[str] | None = None,
    ):
        self._folder, self._name, self._cohort = folder, name, cohort
        self._cutting, self._plan = cutting, plan
        self._mask_class_names = mask_class_names
        self._schema = Schema(
            px=cutting.px,
            encoding=cutting.encoding,
            class_names=plan.class_names,
            has_masks=mask_class_names is not None,
            has_targets=plan.has_targets,
        )
        self._shards = {split: ShardWriter(folder, name, split) for split in plan.splits}
        self._manifest = ManifestWriter(folder, has_targets=plan.has_targets)
        self._targets: list[float] = []  # lowest and highest
        self._open = contextlib.ExitStack()
        rejections = self._open.enter_context(
            open(folder / "rejected.csv", "w", newline="", encoding="utf-8")  # noqa: SIM115 - in the stack
        )
        self._rejected_csv = csv.writer(rejections, lineterminator="\n")
        self._rejected_csv.writerow(["source", "reason"])
        self._rejected: list[str] = []
        self._num_rejected = 0
        self._labels: collections.Counter[tuple[str, str]] = collections.Counter()

    def write(
        self, results: Iterator[tuple[Item, Result]], *, where: str, max_rejected: float
    ) -> None:
        """Writes all results; InputError once more images are rejected than may be."""
        progress = Progress("images", self._plan.images)
        number = 0
        for item, result in results:
            if item.reason == beside.REASON:
                self.set_aside(item.name)
                continue
            progress.show(number, f"{self._num_rejected} rejected")
            number += 1
            reason = item.reason or result.reason
            if reason:
                self.reject(item, reason, where=where, max_rejected=max_rejected)
            for patch in result.patches:
                suffix = f"_{patch.x}_{patch.y}" if patch.x >= 0 else ""
                # Rounded: 0.5 µm/px · 96 / 224 is known to four digits at best.
                mpp = round(item.mpp * patch.side / self._cutting.px, 6)
                self.write_patch(
                    item._replace(mpp=mpp), patch, f"{item.name}{suffix}", result.source_sha256
                )
        progress.close()

    def set_aside(self, name: str) -> None:
        """Notes a file that is no image of its own; it does not count as rejected."""
        self._rejected_csv.writerow([name, beside.REASON])

    def reject(self, item: Item, reason: str, *, where: str, max_rejected: float) -> None:
        """Notes a source that gives nothing; InputError once there are more than may be."""
        self._rejected_csv.writerow([item.name, reason])
        self._num_rejected += 1
        if self._num_rejected <= 3:
            self._rejected.append(f"{item.name}: {reason}")
        if self._num_rejected > max_rejected * self._plan.images:
            raise InputError(
                f"more than {max_rejected:.1%} of {self._plan.images} images cannot be used "
                f"({'; '.join(self._rejected)})",
                where=where,
                way_out="mend or remove them, or raise --max-rejected",
            )

    def write_patch(self, item: Item, patch: Patch, name: str, source_sha256: str) -> None:
        """Writes one record and its row.

        Args:
          item: the source, its mpp and magnification those of the patch's pixels.
          patch: encoded, of the record set's px.
          name: unique in the cohort, whose name goes before it in the key.
          source_sha256: of the source's file; empty when it was not read whole.
        """
        provenance = {
            "key": f"{self._cohort.name}/{name}",
            "cohort": self._cohort.name,
            "slide": item.slide,
            "patient": item.patient,
            "x": patch.x,
            "y": patch.y,
            "mpp": item.mpp,
            "magnification": item.magnification,
            "stain": item.stain,
            "organ": item.organ,
        }
        labels = {} if self._plan.class_names is None else {"label": item.label}
        if self._plan.has_targets:
            labels[TARGET_FIELD] = item.target
            self._targets = [f(*self._targets, item.target, item.target) for f in (min, max)]
        pixels = {"image": patch.image}
        if self._mask_class_names is not None:
            pixels["mask"] = patch.mask
        place = self._shards[item.split].write(self._schema.serialize(provenance | labels | pixels))
        self._manifest.write(
            {"label": None, "split": item.split, "source": item.name}
            | provenance
            | labels
            | place._asdict()
            | {"source_sha256": source_sha256, "pixels_sha256": patch.pixels_sha256}
            | {PERCEPTUAL_FIELD: patch.perceptual_hash}
            | dict(zip(MOMENT_FIELDS, patch.moments, strict=True))
        )
        self._labels[item.split, item.label] += 1

    def finish(self, where: str, settings: dict[str, Any]) -> None:
        """Names the shards and writes manifest, TFDS metadata and record_set.json."""
        planning.check_labels(self._labels, f"{where} (rejected images left out)")
        counts = {split: sum(writer.lengths) for split, writer in self._shards.items()}
        empty = [split for split, count in counts.items() if not count]
        if empty:
            raise InputError(
                f"every image of split {empty[0]} was rejected ({'; '.join(self._rejected)})",
                where=where,
                way_out="mend them or leave the split out",
            )
        self._manifest.finish({split: shards.finish() for split, shards in self._shards.items()})
        cohort = self._cohort
        write_metadata(
            self._folder,
            self._schema,
            self._shards,
            name=self._name,
            version=VERSION,
            description=f"{cohort.name}: {self._cutting.px} px patches, by histo-simclr prepare.",
            citation=cohort.citation,
            homepage=cohort.url,
            license=cohort.license,
        )
        info = {"format": 1, "name": self._name, "cohort": cohort.name, "version": VERSION}
        info |= {"px": self._cutting.px, "class_names": self._plan.class_names}
        if self._mask_class_names is not None:
            info["mask_class_names"] = list(self._mask_class_names)
        if self._plan.has_targets:
            info[TARGET_FIELD] = dict(zip(("low", "high"), self._targets, strict=True))
        info |= {"counts": counts, "rejected": self._num_rejected}
        info |= cohort._asdict() | {"name": self._name}
        info |= {"cutting": self._cutting._asdict(), "settings": settings}
        info |= {"versions": _versions()}
        records.write_json(self._folder / "record_set.json", info)

    def close(self) -> None:
        """Closes what is open, after success or failure."""
        self._open.close()
        self._manifest.close()
        for shards in self._shards.values():
            shards.close()


def _versions() -> dict[str, str]:
    # Another Pillow may encode the same pixels to other bytes. We are not installed in a checkout.
    versions = {}
    for package in ("histo-simclr", "pillow", "tensorflow-datasets"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
