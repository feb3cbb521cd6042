"""Whose file is it: the keys of many projects, and of other networks."""

import pytest

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ARCHS
from histo_simclr.weights import layouts, strangers

# list(resnet.children()) of torchvision: conv1, bn1, relu, maxpool, layer1 … layer4, avgpool, fc.
NUMBERS = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}


@pytest.fixture(scope="session")
def shapes(golden_weights):
    """Architecture → torchvision's own names and shapes, without fc."""
    return {arch: golden_weights.resnet_shapes(arch) for arch in ARCHS}


def under(prefix, shapes):
    return {prefix + name: shape for name, shape in shapes.items()}


def numbered(shapes):
    named = (name.partition(".") for name in shapes)
    keys = [f"{NUMBERS[first]}.{rest}" for first, _, rest in named]
    return dict(zip(keys, shapes.values(), strict=True))


def linear(name, out, fan_in, *, bias=True):
    return {f"{name}.weight": (out, fan_in)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name, width):
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (width,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def ciga(body):
    """The paper's files, as its users report them: head in fc, 0 has no parameters."""
    head = linear("fc.1", 512, 512) | linear("fc.3", 128, 512)
    return under("model.resnet.", body | head)


def lightly(body):
    """lightly 1.5, examples/pytorch_lightning/moco.py: SimCLR's with momentum copies."""
    head = linear("layers.0", 512, 512, bias=False) | norm("layers.1", 512)
    head |= linear("layers.3", 128, 512, bias=False) | norm("layers.4", 128)
    copies = under("backbone_momentum.", numbered(body)) | under("projection_head_momentum.", head)
    queue = {"criterion.memory_bank.bank": (128, 4096), "criterion.memory_bank.bank_ptr": (1,)}
    return under("backbone.", numbered(body)) | under("projection_head.", head) | copies | queue


def solo(body):
    """solo-learn, solo/methods/base.py, simclr.py, and the momentum copies of its other methods."""
    own = under("backbone.", body) | linear("classifier", 10, 512) | linear("projector.0", 4, 512)
    copies = under("momentum_backbone.", body) | linear("momentum_projector.0", 4, 512)
    return own | copies | linear("projector.2", 4, 4) | linear("momentum_classifier", 10, 512)


def spijkervet(body):
    """simclr/simclr.py: fc is an identity; two layers without biases."""
    head = linear("projector.0", 512, 512, bias=False) | linear("projector.2", 64, 512, bias=False)
    return under("encoder.", body) | head


def spijkervet_lightning(body):
    """main_pl.py: `self.encoder`, and `self.model = SimCLR(self.encoder, …)`."""
    return under("encoder.", body) | under("model.", spijkervet(body))


def dino(body):
    """lightly 1.5, examples/pytorch_lightning/dino.py."""
    each = under("backbone.", numbered(body)) | linear("head.layers.0", 64, 512)
    both = under("student_", each) | under("teacher_", each)
    return both | {"criterion.center": (1, 1, 64)}


def moco(body):
    """facebookresearch/moco, v2, behind DistributedDataParallel."""
    each = body | linear("fc.0", 512, 512) | linear("fc.2", 128, 512)
    queue = {"queue": (128, 65536), "queue_ptr": (1,)}
    return under("module.", under("encoder_q.", each) | under("encoder_k.", each) | queue)


LAYOUTS = {
    "torchvision or timm": lambda body: body | linear("fc", 1000, 512),
    "Ciga et al. (Lightning)": ciga,
    "Ciga et al.": lambda body: under("resnet.", body | linear("fc.1", 512, 512)),
    "lightly": lightly,
    "solo-learn or sthalles/SimCLR": solo,
    "Spijkervet/SimCLR or solo-learn": spijkervet,
    "MoCo": moco,
    "lightly (DINO)": dino,
    "nn.Sequential of torchvision's children": lambda body: numbered(body) | linear("9", 1000, 512),
}


@pytest.mark.parametrize("wrapper", ["", "module.", "module._orig_mod."])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_key_of_each_layout_is_accounted_for(name, wrapper, shapes):
    body = shapes["resnet18"]
    file = under(wrapper, LAYOUTS[name](body))
    plan = layouts.plan(file, where="file")
    assert (plan.arch, plan.layout) == ("resnet18", name)
    needed = [each for each in body if not each.endswith("num_batches_tracked")]
    assert list(plan.loaded) == needed
    assert all(file[key] == body[each] for each, key in plan.loaded.items())
    accounted = [*plan.loaded.values(), *(k for keys in plan.left_out.values() for k in keys)]
    assert sorted(accounted) == sorted(file)


def test_the_network_is_loaded_and_not_its_momentum_copy(shapes):
    for name in ("lightly", "solo-learn or sthalles/SimCLR", "MoCo"):
        plan = layouts.plan(LAYOUTS[name](shapes["resnet18"]), where="file")
        copies = plan.left_out[layouts.COPY]
        assert any(key.endswith("conv1.weight") for key in copies)
        assert not any("momentum" in key or "encoder_k" in key for key in plan.loaded.values())


def test_of_two_networks_the_teacher_is_loaded(shapes):
    plan = layouts.plan(dino(shapes["resnet18"]), where="file")
    assert all(key.startswith("teacher_backbone.") for key in plan.loaded.values())
    assert len(plan.left_out[layouts.STUDENT]) == len(shapes["resnet18"])


def test_an_encoder_that_is_there_twice_is_taken_once(shapes):
    file = spijkervet_lightning(shapes["resnet18"])
    plan = layouts.plan(file, where="file")
    assert all(key.startswith("encoder.") for key in plan.loaded.values())
    assert len(plan.left_out[layouts.AGAIN]) == len(shapes["resnet18"])
    assert len(plan.left_out[layouts.HEAD]) == 2


def test_reasons_say_what_was_left_out(shapes):
    plan = layouts.plan(LAYOUTS["torchvision or timm"](shapes["resnet18"]), where="file")
    assert plan.left_out["last layer (1000 outputs)"] == ["fc.weight", "fc.bias"]
    plan = layouts.plan(ciga(shapes["resnet18"]), where="file")
    assert len(plan.left_out[layouts.HEAD]) == 4
    assert len(plan.left_out[layouts.COUNTERS]) == 20


@pytest.mark.parametrize("arch", ARCHS)
def test_the_architecture_is_told_from_the_tensors(arch, shapes):
    assert layouts.plan(shapes[arch], where="file").arch == arch
    assert layouts.plan(ciga(shapes[arch]), where="file", arch=arch).arch == arch
    other = "resnet34" if arch != "resnet34" else "resnet18"
    with pytest.raises(InputError, match=f"holds a {arch}, --arch says {other}"):
        layouts.plan(shapes[arch], where="file", arch=other)


@pytest.mark.parametrize(
    "name", ["conv1.weight", "layer4.1.conv2.weight", "layer2.0.downsample.1.running_var"]
)
def test_a_missing_tensor_is_named(name, shapes):
    file = {key: shape for key, shape in ciga(shapes["resnet18"]).items() if not key.endswith(name)}
    with pytest.raises(InputError, match=name if name != "conv1.weight" else "no known layout"):
        layouts.plan(file, where="file")


def test_a_tensor_of_no_known_use_is_named(shapes):
    file = ciga(shapes["resnet18"]) | {"model.resnet.layer4.1.adapter.weight": (512, 8)}
    with pytest.raises(InputError, match=r"no part of one: model\.resnet\.layer4\.1\.adapter"):
        layouts.plan(file, where="file")


def test_an_unknown_layout_shows_the_nearest_and_lists_all(shapes):
    with pytest.raises(InputError, match="nearest known is lightly, which begins backbone.0") as e:
        layouts.plan(under("net.backbone.", numbered(shapes["resnet18"])), where="file")
    assert all(layout.name in "\n".join(e.value.listed) for layout in layouts.LAYOUTS)


def test_two_copies_behind_one_name_are_refused(shapes):
    file = shapes["resnet18"] | under("module.", shapes["resnet18"])
    with pytest.raises(InputError, match="holds both conv1.weight and module.conv1.weight"):
        layouts.plan(file, where="file")


def changed(shapes, **new):
    return shapes | {name.replace("__", "."): shape for name, shape in new.items()}


OTHERS = {
    "3x3 px, as for CIFAR": lambda s: changed(s, conv1__weight=(64, 3, 3, 3)),
    "2 times as wide": lambda s: (
        {k: tuple(2 * n for n in v) for k, v in s.items()} | {"conv1.weight": (128, 3, 7, 7)}
    ),
    "images of 4 channels": lambda s: changed(s, conv1__weight=(64, 4, 7, 7)),
    "ResNeXt": lambda s: changed(
        s, layer1__0__conv1__weight=(128, 64, 1, 1), layer1__0__conv2__weight=(128, 4, 3, 3)
    ),
    "wide ResNet": lambda s: changed(
        s, layer1__0__conv1__weight=(128, 64, 1, 1), layer1__0__conv2__weight=(128, 128, 3, 3)
    ),
    "without BatchNorm's running statistics": lambda s: {
        k: v for k, v in s.items() if "running" not in k and "batches" not in k
    },
    r"bottleneck blocks \[3, 4, 36, 3\]": lambda s: (
        s
        | {f"layer3.{i}.conv{j}.weight": (1024, 256, 1, 1) for i in range(6, 36) for j in (1, 2, 3)}
    ),
    "deep stem": lambda s: {"conv1.0.weight": (32, 3, 3, 3), "layer1.0.conv1.weight": (64, 64)},
    "vision transformer": lambda s: {"cls_token": (1, 1, 384), "blocks.0.attn.qkv.weight": (9, 3)},
    "Swin": lambda s: {"layers.0.blocks.0.attn.relative_position_bias_table": (169, 3)},
    "ConvNeXt": lambda s: {"stages.0.blocks.0.conv_dw.weight": (96, 1, 7, 7)},
    "DenseNet": lambda s: {"features.denseblock1.denselayer1.conv1.weight": (128, 64, 1, 1)},
    "transformers' own class": lambda s: {
        "resnet.embedder.embedder.convolution.weight": (64, 3, 7, 7)
    },
    "EfficientNet": lambda s: {"conv_stem.weight": (32, 3, 3, 3)},
    "squeeze and excitation": lambda s: {"layer1.0.se.fc1.weight": (4, 64, 1, 1)},
    "no names any more": lambda s: {"onnx::Conv_193": (64, 3, 7, 7)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_networks_are_called_by_their_names(what, shapes):
    with pytest.raises(InputError, match=f"{what}.*only torchvision's resnet18"):
        layouts.plan(OTHERS[what](shapes["resnet50"]), where="file")


def test_few_keys_are_shown_of_many():
    assert strangers.few(["a", "b"]) == "a, b"
    assert strangers.few(list("abcdef")) == "a, b, c and 3 more"
