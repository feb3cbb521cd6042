"""The architecture as a test: who may import whom, and what no file may hold.

A folder is a stage of the pipeline, a file in the root of the package a service of several stages.
Core code is a function of arrays: no files, flags, configs, TensorFlow.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "histo_simclr"

# Module or folder (of histo_simclr) -> what it may import besides the standard library, numpy and
# `errors`: parts of histo_simclr by module or folder, other packages by name. The longest entry
# that fits a module counts; a folder's own files come with it.
SERVICES = "records provenance mesh config workdir telemetry pictures checkpoint tables"
SERVICES += " encode fingerprint processes out_of_memory"
RULES = {
    "": "",  # the package's own __init__: importing it costs nothing
    "__main__": "cli",
    "cli": "out_of_memory",  # knows its commands by name
    # Each case imports what it times; the clock knows none of them.
    "benchmarks": "benchmarks jax",
    "benchmarks.command": "benchmarks config mesh out_of_memory provenance tables jax jaxlib",
    "benchmarks.settings": "config mesh records absl ml_collections",
    "benchmarks.cases": "benchmarks input pretrain jax",
    "benchmarks.programs": "benchmarks.compilations config mesh update views pretrain jax",
    "benchmarks.end_to_end": "benchmarks mesh update input pretrain jax",
    "benchmarks.saving": "benchmarks checkpoint fingerprint provenance state telemetry jax",
    "benchmarks.rooflines": "chips model jax",
    "benchmarks.extract": "benchmarks encode mesh records model evaluate.extract jax flax",
    "benchmarks.probe": "benchmarks evaluate.heads evaluate.knn evaluate.probe jax",
    "benchmarks.probe_peer": "benchmarks.clock evaluate.heads sklearn",
    "views": "views jax",
    "model": "model jax flax",
    "optimizer": "jax optax",
    "pretrain": "",
    "pretrain.objective": "jax optax",
    "pretrain.gradient_cache": "jax flax",
    "pretrain.step": "views.compose pretrain.gradient_cache pretrain.objective update"
    " jax flax optax",
    "pretrain.views_command": "config records pretrain.preview",
    "pretrain.preview": "pictures records input views jax",
    "pretrain.online": "views.compose model input mesh pretrain.questions jax flax",
    "pretrain.questions": "records evaluate",
    "pretrain.report": "config pictures telemetry pretrain.questions jax ml_collections",
    "pretrain.start": "checkpoint checkpoint_items state provenance model weights jax flax",
    "pretrain.train": f"{SERVICES} views model optimizer state update pretrain input evaluate"
    " jax flax optax ml_collections",
    "input": "",
    "input.order": "",
    "input.reader": "input.order records tensorflow",
    "input.decoded": "input.host_memory input.order input.reader records",
    "input.host_memory": "",
    "input.device": "mesh jax",
    "input.feed": "input mesh records jax",
    "evaluate": f"{SERVICES} views model input evaluate jax flax",
    "evaluate.extract": "model encode input mesh records jax",
    "evaluate.finetune": "views model input evaluate.extract evaluate.finetune_step"
    " evaluate.supervised optimizer state update mesh provenance records jax flax",
    "evaluate.finetune_step": "views.compose model optimizer state update jax flax optax",
    "evaluate.heads": "jax optax",
    # A TFDS name becomes a record set first, as by hand.
    "evaluate.labelled": f"{SERVICES} evaluate.metrics evaluate.splits prepare.write jax",
    "evaluate.masked": "records input evaluate.splits",
    "evaluate.measured": "records evaluate.splits",
    "evaluate.overlap": "scipy",
    "evaluate.segment": "views.compose model optimizer mesh evaluate.segment_step"
    " evaluate.stitch evaluate.overlap jax flax optax",
    "evaluate.segment_step": "views.compose mesh evaluate.overlap jax flax",
    "evaluate.splits": "",
    "evaluate.stitch": "",
    "evaluate.supervised": "evaluate.metrics jax optax",
    "evaluate.metrics": "",
    "evaluate.regression_metrics": "",
    "evaluate.overlap_metrics": "",
    "evaluate.statistics": "evaluate.metrics",
    "evaluate.ranking": "scipy",
    "evaluate.calibration": "",
    "evaluate.neighbors": "",
    "evaluate.clusters": "jax",
    "evaluate.drift": "evaluate.neighbors",
    "evaluate.batch_effect": "evaluate scipy",
    # What leaks is known from the files that prepare wrote, and compared as mix does.
    "evaluate.leaks": "records prepare.near prepare.candidates prepare.registry pyarrow",
    "evaluate.seen": "records provenance evaluate.leaks prepare.candidates prepare.registry"
    " pyarrow",
    "evaluate.folds": "",
    "evaluate.checks": "",
    "evaluate.few_labels": "",
    "evaluate.bags": "",
    "evaluate.precomputed": "records workdir prepare.storage",
    "evaluate.probe": "evaluate.checks evaluate.folds evaluate.heads",
    "evaluate.sgd_probe": "evaluate.checks jax optax",
    "evaluate.knn": "evaluate.checks evaluate.folds evaluate.metrics evaluate.neighbors",
    "evaluate.centroid": "evaluate.checks evaluate.neighbors",
    "evaluate.ridge": "evaluate.checks evaluate.folds",
    "evaluate.mil": "evaluate.bags evaluate.checks jax optax flax",
    "evaluate.linear_eval": f"{SERVICES} views model input evaluate jax flax ml_collections",
    # Runs the programs as commands, so it knows none of them.
    "experiment": "experiment config records workdir tables pictures prepare.mix_settings"
    " ml_collections",
    # Programs over the protocols: what is judged, by what, kept where.
    "suite": f"{SERVICES} evaluate looks report.document report.differences prepare.storage"
    " prepare.relatives prepare.registry prepare.near model suite jax flax ml_collections",
    "suite.tasks": "records evaluate prepare.registry prepare.relatives",
    "suite.summary": "evaluate suite.cells suite.tasks",
    "suite.comparisons": "evaluate suite.encoders suite.summary suite.tasks",
    # What files say of themselves, and whether it holds.
    "inspecting": "inspecting checkpoint fingerprint records provenance tables weights model"
    " prepare.stages flax",
    "inspecting.was_seen": "prepare.relatives prepare.registry prepare.registry_row pyarrow",
    "inspecting.features": "h5py",
    # Pictures of features: of arrays and of patches that are shown beside them.
    "looks": "looks evaluate pictures matplotlib sklearn threadpoolctl",
    "looks.sample": "records input views.compose prepare.draw",
    # The report knows results as JSON, not how they were made: no encoder, no records.
    "report": "report workdir jinja2",
    "report.looks": "report PIL",
    "report.figures": "pictures matplotlib",
    # Pages of slides: features come from files, so only the fit of a probe knows an encoder.
    "maps": "maps evaluate.clusters evaluate.neighbors report.page h5py sklearn",
    "maps.slide_pictures": "slides PIL",
    "maps.qupath": "",
    "maps.look": "maps prepare.whole",
    "maps.page": "maps report.page jinja2",
    "maps.neighbor_index": "evaluate.neighbors usearch",
    "maps.probe_files": "prepare.storage",
    "maps.probe_fit": "maps.probe_files encoder records input evaluate",
    "maps.command": "maps prepare.slide_list prepare.item",
    "prepare": "prepare slides records tables image_hash provenance PIL pyarrow"
    " yaml tensorflow_datasets tensorflow",
    # A test split is held out as a validation part is: whole groups, balanced classes.
    "prepare.holdout": "prepare evaluate.splits",
    "prepare.datasheet": "prepare records pictures pyarrow",
    "prepare.on_beam": "prepare apache_beam",
    "prepare.storage": "fsspec",
    "prepare.registry": "prepare.registry_row",
    "prepare.registry_row": "",
    "prepare.acquire": "prepare.registry_row",
    # Slides → features. What reads slides runs in processes that never load JAX.
    "embed": "embed encode encoder model mesh provenance tables weights prepare slides jax",
    "embed.batches": "jax",
    "embed.feature_file": "h5py",
    "embed.also": "embed.feature_file weights.torch_file h5py zarr pyarrow",
    "embed.layouts": "embed.feature_file embed.reading slides",
    "embed.reading": "prepare slides",
    "embed.shares": "prepare.item",
    "embed.slide_ends": "embed.feature_file embed.shares prepare.slide_table",
    "slides": "slides PIL scipy shapely",
    "errors": "",
    "out_of_memory": "",
    "chips": "",
    "config": "ml_collections",
    "records": "typed pyarrow google_crc32c",
    "typed": "",
    "provenance": "records",
    "image_hash": "",
    "tables": "",
    "mesh": "jax",
    "processes": "jax",
    "state": "mesh jax flax optax",
    "update": "mesh jax flax",
    "encode": "views.compose model mesh jax flax",
    "fingerprint": "encode model mesh provenance jax flax PIL",
    # The public interface: an encoder from any file, to call.
    "encoder": "encode checkpoint input_check model mesh provenance weights jax",
    "input_check": "provenance",
    "freed_memory": "jax",
    "collectives": "",
    "checkpoint": "checkpoint_items processes provenance fingerprint state model jax flax orbax",
    "checkpoint_items": "out_of_memory provenance jax orbax google_crc32c",
    # Encoders of others in, ours out: files and names, no data.
    "weights": "weights checkpoint encode fingerprint freed_memory provenance model",
    "weights.names": "model jax flax",
    # Programs: traced from the encoder, or written in another library's operations.
    "weights.blocks": "weights.names",
    "weights.function": "model views.compose weights.names jax flax",
    "weights.onnx_file": "onnx",
    "weights.onnx_graph": "model provenance weights onnx",
    "weights.saved_model": "model provenance weights tensorflow",
    "weights.jax_program": "model provenance views.compose weights jax",
    # What others wrote is read by modules that know neither JAX nor our files.
    "weights.tensors": "",
    "weights.torch_values": "weights.tensors",
    "weights.torch_pickle": "weights.torch_values",
    "weights.torch_file": "weights.torch_pickle weights.torch_values",
    "weights.formats": "weights.label weights.tensors weights.torch_file weights.torch_values"
    " weights.jax_program weights.saved_model weights.onnx_file"
    " safetensors onnx",
    "weights.sound": "weights.tensors",
    "weights.sources": "",
    "weights.strangers": "model",
    "weights.layouts": "model weights.names weights.strangers",
    "weights.label": "fingerprint provenance model weights.names",
    "weights.safetensors_file": "",
    "weights.npz_file": "",
    "weights.flat_files": "provenance model weights workdir",
    "weights.timm_folder": "fingerprint provenance model weights workdir",
    "weights.card_results": "checkpoint records",
    "weights.card_text": "provenance weights.card_results",
    # Commercial use is rolled up as a mix's is.
    "weights.model_card": "provenance weights prepare.stages yaml",
    "weights.usage": "provenance",
    "workdir": "config",
    "telemetry": "workdir jax clu tensorflow tensorboard",
    "pictures": "matplotlib",
}
CORE = ("views", "model", "optimizer", "update", "pretrain.objective", "pretrain.step")
CORE += ("evaluate.supervised", "evaluate.finetune_step")
NOT_IN_CORE = {"os", "io", "pathlib", "shutil", "tempfile", "subprocess", "argparse", "logging"}
# Seconds at import, or a clash with the accelerator's memory: only where a function needs them.
INSIDE_FUNCTIONS = {"clu", "tensorboard", "matplotlib", "tensorflow", "tensorflow_datasets"}
INSIDE_FUNCTIONS |= {"apache_beam", "fsspec", "sklearn", "safetensors", "onnx"}
TENSORFLOW_AT_THE_TOP = {"input.reader"}
# Words that say where a thing was put, not what it is.
FORBIDDEN_STEMS = {"utils", "util", "common", "misc", "helpers", "helper"}
FORBIDDEN_TEXT = {
    r"config\.get\(": "a default hidden in the code; the recipe states every value once",
    r"\b(TODO|FIXME|XXX|HACK)\b": "left-over",
    r"pdb\.set_trace|\bbreakpoint\(": "left-over",
    r"jax\.random\.PRNGKey": "untyped key; use jax.random.key",
    r"jax\.pmap\b|experimental\.pjit": "legacy; use jit with shardings",
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    .removesuffix("__init__")
    .rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
CODE = [*MODULES.values(), *sorted((ROOT / "configs").rglob("*.py")), ROOT / "main.py"]


def _imports(path: Path) -> list[tuple[int, bool, str]]:
    """(line, inside a function, dotted name) of every import; histo_simclr's down to the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, functions)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(node.lineno, id(node) in inside, name) for name in names]
    return found


def _fits(name: str, entry: str) -> bool:
    return name == entry or name.startswith(f"{entry}.")


def _rule(module: str) -> str | None:
    entries = [entry for entry in RULES if _fits(module, entry)]
    return max(entries, key=len, default=None)


def _internal(name: str) -> str | None:
    """`views.color` for histo_simclr.views.color.jitter; None for other packages."""
    if not _fits(name, "histo_simclr"):
        return None
    name = name.removeprefix("histo_simclr").lstrip(".")
    return name if name in MODULES else name.rpartition(".")[0]


def _complaint(module: str, inside: bool, name: str) -> str | None:
    """Why `module` must not import `name`; None when it may."""
    allowed = RULES[_rule(module)].split()
    top = name.split(".")[0]
    internal = _internal(name)
    if internal is not None:
        if internal in ("", "errors") or any(_fits(internal, entry) for entry in allowed):
            return None
        return "not below it in the layout"
    if any(_fits(module, core) for core in CORE) and top in NOT_IN_CORE:
        return "core code knows no files, processes or flags"
    if top in INSIDE_FUNCTIONS and not inside and module not in TENSORFLOW_AT_THE_TOP:
        return "only inside the function that needs it"
    if top in sys.stdlib_module_names or top in ("numpy", *allowed):
        return None
    return "a package it may not use"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or "__init__")
def test_imports_follow_the_layout(module):
    assert _rule(module) is not None, f"{MODULES[module]}: no entry in RULES; which stage is it?"
    complaints = [
        f"{MODULES[module].relative_to(ROOT)}:{line}: imports {name}: {complaint}"
        for line, inside, name in _imports(MODULES[module])
        if (complaint := _complaint(module, inside, name))
    ]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("module", "inside", "name"),
    [
        ("views.color", False, "tensorflow"),
        ("views.color", False, "histo_simclr.model.resnet.ResNet"),
        ("model.resnet", False, "os"),
        ("pretrain.step", False, "ml_collections"),
        ("pretrain.step", False, "histo_simclr.pretrain.train"),
        ("evaluate.extract", False, "histo_simclr.pretrain.objective"),
        ("evaluate.splits", False, "histo_simclr.evaluate.metrics"),
        ("prepare.mix", True, "jax"),
        ("telemetry", False, "clu.metric_writers"),
        ("checkpoint", True, "histo_simclr.cli"),
    ],
)
def test_the_rules_refuse_what_points_upwards(module, inside, name):
    assert _complaint(module, inside, name)


def test_no_rule_is_left_over():
    """A rule for a module that is gone, or that comes with a later issue, is no rule."""
    folders = {module.rpartition(".")[0] for module in MODULES}
    assert not {entry for entry in RULES if entry not in MODULES and entry not in folders}


def test_programs_and_configs_stand_on_top():
    for path in CODE:
        for line, _, name in _imports(path):
            assert name.split(".")[0] != "main", f"{path}:{line}"
            if path.relative_to(ROOT).parts[0] == "configs":
                assert name.split(".")[0] in ("configs", "ml_collections") or (
                    name == "histo_simclr.errors.InputError"
                ), f"{path}:{line}: {name}"


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_a_catch_all(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400, f"{path}: {len(lines)} lines hold two things; split it"
    assert path.stem not in FORBIDDEN_STEMS, f"{path}: name the thing"
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()!r}: {reason}"
        for number, line in enumerate(lines, 1)
        for pattern, reason in FORBIDDEN_TEXT.items()
        if re.search(pattern, line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers_are_spelled_the_american_way(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            names |= {value} if isinstance(value, str) else set()
    assert not {name for name in names if re.search("colour|grey|normalis|optimis", name.lower())}


def test_the_train_step_and_the_model_load_without_tensorflow():
    """By import: what their packages pull in counts too."""
    program = (
        "import sys, histo_simclr.pretrain.step, histo_simclr.model.simclr, histo_simclr.optimizer;"
        "import histo_simclr.views.compose;"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "jax" in loaded
    assert not loaded & {
        "tensorflow",
        "tensorflow_datasets",
        "clu",
        "tensorboard",
        "ml_collections",
    }
    assert "matplotlib" not in loaded


def test_every_golden_file_has_its_origin_written_down():
    listed = set(re.findall(r"^\| `([^`]+)`", (ROOT / "tests/golden/README.md").read_text(), re.M))
    there = {path.name for path in (ROOT / "tests/golden").iterdir() if path.is_file()}
    assert there - {"README.md"} == listed
