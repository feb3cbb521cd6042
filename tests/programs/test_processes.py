"""One job of two processes on loopback: it trains, evaluates and writes once."""

import json
import socket

import pytest

pytestmark = pytest.mark.slow


def test_two_processes_make_one_run(program, pretrain_arguments, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    extra = (
        "--config.evaluation.records=data/sample/records/osteosarcoma",
        "--config.online.records=data/sample/records/osteosarcoma",
        "--config.online.every=2",
        "--config.online.patches=30",
        "--config.online.mix_patches=30",
    )
    arguments = pretrain_arguments(tmp_path, steps=2, extra=extra)
    job = [
        program.start(
            *arguments,
            environment={
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": str(number),
            },
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=600) for process in job]
    assert [process.returncode for process in job] == [0, 0], outputs
    first, second = (out for out, _ in outputs)
    assert "2 cpu device(s) in 2 process(es)" in first
    said = [line for line in second.splitlines() if not line.startswith("[Gloo]")]
    assert said == []
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2]
    answers = json.loads(lines[0])
    assert {"online_knn", "online_probe_untrained", "online_other_cohort"} <= answers.keys()
    results = json.loads((tmp_path / "evaluation/osteosarcoma/results.json").read_text())
    assert results["checkpoint"]["step"] == 2
