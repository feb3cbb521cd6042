"""A small record set on disk, written by TensorFlow and encoded by Pillow."""

import io
import shutil
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from histo_simclr import records

PX, SHARDS, PER_SHARD = 32, 5, 13


class Written(NamedTuple):
    """What was written: its rows, and per row the encoded bytes."""

    rows: records.Rows
    encoded: list[bytes]

    def pixels(self, row: int) -> np.ndarray:
        """(px, px, 3) uint8, decoded by Pillow."""
        return np.asarray(Image.open(io.BytesIO(self.encoded[row])).convert("RGB"))

    def flip_byte(self, row: int) -> None:
        """Flips one byte in the middle of the record, which lies in the image."""
        with open(self.rows.shards[self.rows.shard[row]], "r+b") as file:
            file.seek(int(self.rows.offset[row] + self.rows.length[row] // 2))
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 0x10]))


def encode(seed: int, px: int = PX) -> bytes:
    """A smooth random image with a little noise: JPEG, every third one PNG."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(90, 256, (px // 8, px // 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((px, px), Image.Resampling.BICUBIC)).astype(int)
    noisy = np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "PNG" if seed % 3 == 0 else "JPEG", quality=90)
    return file.getvalue()


def write(folder: Path, shards: list[list[bytes]], px: int = PX) -> Written:
    """Writes one TFRecord file per list and finds the records by reading the headers."""
    import tensorflow as tf

    paths, places = [], []
    for number, encoded in enumerate(shards):
        path = folder / f"tissue-train.tfrecord-{number:05d}-of-{len(shards):05d}"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for image in encoded:
                example = tf.train.Example()
                example.features.feature["image"].bytes_list.value.append(image)
                example.features.feature["cohort"].bytes_list.value.append(b"tissue")
                example.features.feature["x"].int64_list.value.append(-1)
                writer.write(example.SerializeToString())
        paths.append(str(path))
        data, start = path.read_bytes(), 0
        while start < len(data):
            (length,) = struct.unpack_from("<Q", data, start)
            (crc,) = struct.unpack_from("<I", data, start + 12 + length)
            places.append((number, start + 12, length, crc))
            start += 16 + length
    shard, offset, length, crc = (np.array(column) for column in zip(*places, strict=True))
    rows = records.Rows(
        shards=tuple(paths),
        shard=shard.astype(np.int32),
        offset=offset.astype(np.int64),
        length=length.astype(np.int64),
        crc=crc.astype(np.uint32),
        px=px,
    )
    return Written(rows, [image for encoded in shards for image in encoded])


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Written:
    """65 records in 5 shards; not to be damaged."""
    shards = [[encode(i * PER_SHARD + j) for j in range(PER_SHARD)] for i in range(SHARDS)]
    return write(tmp_path_factory.mktemp("records"), shards)


@pytest.fixture
def copy(written, tmp_path) -> Written:
    """The same records in files of this test, to be damaged."""
    shards = tuple(shutil.copy(path, tmp_path) for path in written.rows.shards)
    return Written(records.Rows(shards, *written.rows[1:]), written.encoded)


@pytest.fixture
def write_records(tmp_path):
    """Writes a list of encoded images as one shard of this test."""
    return lambda encoded, px=PX: write(tmp_path, [encoded], px)


@pytest.fixture(scope="session")
def encode_image():
    """`encode`: seed, px -> encoded bytes."""
    return encode
