"""The cache of decoded pixels: the same bits as without it, or a refusal."""

import numpy as np
import pytest

from histo_simclr import mesh as meshes
from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.input import decoded, feed, host_memory, order, reader


def batches_of(rows, *, cached: bool) -> tuple[list[np.ndarray], reader.Watch]:
    """Steps 3 to 19 of batches of 8, over the border of two epochs; 65 rows."""
    watch = reader.Watch()
    with feed.global_batches(
        rows,
        lambda step: order.batch_rows(step, seed=3, n=len(rows), batch_size=8),
        start=3,
        stop=20,
        mesh=meshes.make(1),
        max_corrupt=0.05,
        watch=watch,
        cached=cached,
    ) as batches:
        return [np.asarray(batches.next(None)) for _ in range(3, 20)], watch


@pytest.mark.parametrize("chunk", [8, 256])
def test_batches_are_those_without_the_cache_bit_for_bit(copy, chunk, monkeypatch):
    monkeypatch.setattr(decoded, "CHUNK", chunk)
    for row in (10, 11, 64):  # the next row of the last one is the first
        copy.flip_byte(row)
    plain, met = batches_of(copy.rows, cached=False)
    cached, watch = batches_of(copy.rows, cached=True)
    np.testing.assert_array_equal(cached, plain)
    assert watch.corrupt == met.corrupt == 3


def test_too_many_corrupt_records_are_refused_at_the_start(copy):
    for row in (10, 20, 30, 40):
        copy.flip_byte(row)
    with pytest.raises(InputError, match=r"4 of 65 records.*data\.max_corrupt"):
        batches_of(copy.rows, cached=True)


def test_what_does_not_fit_is_refused_before_anything_is_read(written, monkeypatch):
    large = records.Rows(*written.rows[:-1], px=2**17)  # 65 x 48 GiB
    monkeypatch.setattr(reader, "read", None)
    with pytest.raises(InputError, match=r"3,120\.0 GiB in each process.*GiB can be had") as caught:
        decoded.all_rows(large)
    assert caught.value.where == "config.run.cache_decoded"


def test_memory_that_another_process_takes_meanwhile_is_noticed(written, monkeypatch):
    left = iter([10**9, 10**9, 0])
    monkeypatch.setattr(host_memory, "available", lambda: next(left))
    monkeypatch.setattr(decoded, "CHUNK", 32)
    with pytest.raises(InputError, match=r"0\.0 GiB can be had"):
        decoded.all_rows(written.rows)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),  # no Linux
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:      5 kB\n"}, 5 * 1024),
        (  # version 2: the group's parent has the limit
            {
                "proc/meminfo": "MemAvailable: 5 kB\n",
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/step/memory.current": "100\n",
                "sys/fs/cgroup/job/memory.max": "1000\n",
                "sys/fs/cgroup/job/memory.current": "400\n",
                "sys/fs/cgroup/job/memory.stat": "anon 200\ninactive_file 150\n",
            },
            1000 - 400 + 150,
        ),
        (  # version 1
            {
                "proc/self/cgroup": "5:cpu:/job\n4:memory:/job\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "800\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "300\n",
            },
            500,
        ),
    ],
)
def test_memory_is_that_of_the_machine_or_of_the_control_group(files, expected, tmp_path):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert host_memory.available(tmp_path) == expected
