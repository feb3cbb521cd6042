"""Shards of a record set as TFDS lays them out: TFRecord framing with byte ranges, and metadata.

TensorFlow is imported inside functions only: worker processes import nothing from here.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError

# TFDS advises shards of 100 MB and more; a cohort of the paper then has one to a few.
SHARD_BYTES = 256 * 2**20


class Place(NamedTuple):
    """Where a record lies: shard number, first byte and bytes of the Example, masked CRC32C."""

    shard: int
    offset: int
    length: int
    crc: int


class ShardWriter:
    """Writes one split's records into shards of bounded size; the names come at the end.

    Args:
      folder: where the shards go.
      name, split: of the TFDS dataset; they make the file names.
      shard_bytes: a shard that has reached this size is closed.
    """

    def __init__(self, folder: Path, name: str, split: str, *, shard_bytes: int = SHARD_BYTES):
        self._folder, self._stem, self._limit = folder, f"{name}-{split}.tfrecord", shard_bytes
        self._file: IO[bytes] | None = None
        self._size = 0
        self.lengths: list[int] = []
        self.num_bytes = 0

    def write(self, example: bytes) -> Place:
        """Appends one serialised tf.train.Example."""
        if self._file is None or self._size >= self._limit:
            self.close()
            self._file = open(self._part(len(self.lengths)), "wb")  # noqa: SIM115 - held open over many calls
            self._size = 0
            self.lengths.append(0)
        header, crc = struct.pack("<Q", len(example)), records.masked_crc(example)
        place = Place(len(self.lengths) - 1, self._size + 12, len(example), crc)
        self._file.write(header + struct.pack("<I", records.masked_crc(header)))
        self._file.write(example)
        self._file.write(struct.pack("<I", crc))
        self._size += 16 + len(example)
        self.lengths[-1] += 1
        self.num_bytes += len(example)
        return place

    def close(self) -> None:
        """Closes the open shard, if any."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())  # as `storage.new_file` does, and for its reason
            self._file.close()
            self._file = None

    def finish(self) -> list[str]:
        """Closes, gives the shards their TFDS names, and returns these."""
        self.close()
        count = len(self.lengths)
        names = [f"{self._stem}-{shard:05d}-of-{count:05d}" for shard in range(count)]
        for shard, name in enumerate(names):
            self._part(shard).rename(self._folder / name)
        return names

    def _part(self, shard: int) -> Path:
        return self._folder / f"{self._stem}-{shard:05d}.part"


class Schema:
    """Features of a record set in TFDS's terms, and the serialiser made from them.

    Args:
      px: side of every patch.
      encoding: "jpeg" or "png": what TFDS writes in features.json; both decode either.
      class_names: sorted names, or None without labels.
      has_masks: whether each patch has a mask.
      has_targets: whether each patch has a number to predict.
    """

    def __init__(
        self,
        *,
        px: int,
        encoding: str,
        class_names: Sequence[str] | None,
        has_masks: bool = False,
        has_targets: bool = False,
    ):
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core import example_serializer

        features = tfds.features
        scalars = {int: features.Scalar(np.int64), float: features.Scalar(np.float32)}
        specs: dict[str, Any] = {
            "image": features.Image(shape=(px, px, 3), encoding_format=encoding)
        }
        for name, (kind, _) in records.PROVENANCE_FIELDS.items():
            specs[name] = scalars.get(kind) or features.Text()
        if class_names is not None:
            specs["label"] = features.ClassLabel(names=list(class_names))
        if has_masks:
            specs["mask"] = features.Image(shape=(px, px, 1), encoding_format="png")
        if has_targets:
            specs[records.TARGET_FIELD] = scalars[float]
        self.features = features.FeaturesDict(specs)
        self._serializer = example_serializer.ExampleSerializer(self.features.get_serialized_info())

    def serialize(self, values: Mapping[str, Any]) -> bytes:
        """One record as the bytes of a tf.train.Example; equal values give equal bytes."""
        example = self._serializer.get_tf_example(self.features.encode_example(dict(values)))
        # Without `deterministic` the order of the feature map differs from process to process.
        return example.SerializeToString(deterministic=True)


def read_image(shard: Path, *, offset: int, length: int, crc: int) -> bytes:
    """The encoded image of one record.

    Args:
      shard: TFRecord file.
      offset, length, crc: as in `Place`.

    Raises:
      InputError: the shard cannot be read, or the record fails its checksum.
    """
    import tensorflow as tf

    try:
        with open(shard, "rb") as file:
            file.seek(offset)
            example = file.read(length)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", where=shard, way_out="restore the shard"
        ) from error
    if records.masked_crc(example) != crc:
        raise InputError(
            "record fails its checksum",
            where=f"{shard}, offset {offset}",
            way_out="copy the shard again, or make it with `histo-simclr prepare`",
        )
    features = tf.train.Example.FromString(example).features.feature
    return features["image"].bytes_list.value[0]


def write_metadata(
    folder: Path,
    schema: Schema,
    writers: Mapping[str, ShardWriter],
    *,
    name: str,
    version: str,
    description: str,
    citation: str,
    homepage: str,
    license: str,
) -> None:
    """Writes features.json and dataset_info.json, so that TFDS reads the folder without code."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix="tfrecord"
    )
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=writer.lengths,
            num_bytes=writer.num_bytes,
            filename_template=template.replace(split=split),
        )
        for split, writer in writers.items()
    ]
    answers = ("label", "mask", records.TARGET_FIELD)
    target = next((name for name in answers if name in schema.features), None)
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=schema.features,
        split_infos=splits,
        version=version,
        filename_template=template,
        check_data=False,
        description=description,
        citation=citation,
        homepage=homepage,
        license=license,
        supervised_keys=None if target is None else ("image", target),
    )
