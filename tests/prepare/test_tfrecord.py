import numpy as np
import pytest

from histo_simclr.prepare.tfrecord import ShardWriter
from histo_simclr.records import masked_crc


def test_masked_crc_is_that_of_the_crc32c_standard():
    # RFC 3720 B.4: CRC32C of 32 zero bytes is 0x8A9136AA; the mask is the TFRecord format's.
    crc = 0x8A9136AA
    expected = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32
    assert masked_crc(bytes(32)) == expected


def test_tensorflow_reads_the_shards_and_finds_their_checksums_right(tmp_path):
    import tensorflow as tf

    data = [bytes([number]) * (10 + number) for number in range(7)]
    writer = ShardWriter(tmp_path, "set", "train", shard_bytes=60)
    places = [writer.write(each) for each in data]
    names = writer.finish()
    assert names == [f"set-train.tfrecord-{i:05d}-of-00003" for i in range(3)]
    files = [str(tmp_path / name) for name in names]
    read = list(tf.data.TFRecordDataset(files).as_numpy_iterator())
    assert read == data
    assert sum(writer.lengths) == 7
    for place, each in zip(places, data, strict=True):
        content = (tmp_path / names[place.shard]).read_bytes()
        assert content[place.offset : place.offset + place.length] == each
        footer = content[place.offset + place.length :][:4]
        assert np.frombuffer(footer, "<u4")[0] == place.crc


def test_tensorflow_notices_a_flipped_byte(tmp_path):
    import tensorflow as tf

    writer = ShardWriter(tmp_path, "set", "train")
    place = writer.write(b"some bytes")
    (name,) = writer.finish()
    content = bytearray((tmp_path / name).read_bytes())
    content[place.offset] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset(str(tmp_path / name)))
