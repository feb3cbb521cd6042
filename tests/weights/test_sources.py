"""Statistics: of known files, named sources, timm's configuration, the user."""

import pytest

from histo_simclr.errors import InputError
from histo_simclr.weights import sources

UNKNOWN = {
    "sha256": "0" * 64,
    "arch": "resnet18",
    "pretrained_cfg": None,
    "mean": None,
    "std": None,
    "px": 0,
    "mpp": (),
    "source": "",
    "license": "",
    "where": "w.pth",
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's documentation


def settle(**said):
    return sources.settle(**UNKNOWN | said)


def test_the_papers_files_are_known_by_their_digests():
    # Digests of the released files; statistics by their author, issue 2 of his repository.
    for digest in (
        "61dc3ce7273f4ecb2960c3df31b67e36c38e4f30d9622b42496f842752992117",
        "ae652d1a586c1be11b8ed7f4033094a98ac9c620e43a28998c6c86d248e750ab",
    ):
        found = settle(sha256=digest)
        assert (found.source, found.mean, found.std) == ("ciga", (0.5,) * 3, (0.5,) * 3)
        assert (found.px, found.mpp, found.license) == (224, (), "MIT")
        assert "ImageNet" in found.note


@pytest.mark.parametrize("digits", ["f37072fd", "b627a593", "0676ba61", "11ad3fa6", "cd907fc2"])
def test_torchvisions_files_are_known_by_the_digits_in_their_names(digits):
    found = settle(sha256=digits + "0" * 56)
    assert (found.mean, found.std) == IMAGENET
    assert found.license == "BSD-3-Clause"


def test_without_statistics_the_way_out_lists_the_sources():
    with pytest.raises(InputError, match=r"--source NAME, or --mean r,g,b --std r,g,b") as error:
        settle()
    listed = "\n".join(error.value.listed)
    assert all(f"--source {each.name}" in listed for each in sources.SOURCES)


def test_what_the_user_says_comes_first():
    found = settle(
        source="ciga", mean=(0.7, 0.5, 0.6), std=(0.2, 0.3, 0.2), px=96, mpp=(1, 0.5), license="X"
    )
    assert (found.mean, found.std) == ((0.7, 0.5, 0.6), (0.2, 0.3, 0.2))
    assert (found.px, found.mpp, found.license) == (96, (0.5, 1.0), "X")
    assert (found.source, found.told_by) == ("ciga", "--mean and --std")


def test_a_source_says_all_and_only_of_its_architectures():
    found = settle(source="ciga-larger", arch="resnet50")
    assert (found.mean, found.license) == ((0.5,) * 3, "NOASSERTION")
    with pytest.raises(InputError, match="ciga has resnet18; the file holds a resnet50"):
        settle(source="ciga", arch="resnet50")
    with pytest.raises(InputError, match="unknown source 'cigar'.*ciga, ciga-larger"):
        settle(source="cigar")


def test_timms_configuration_is_believed_and_its_defaults_doubted():
    cfg = {"mean": [0.7, 0.5, 0.6], "std": [0.2, 0.2, 0.2], "input_size": [3, 96, 96]}
    found = settle(pretrained_cfg=cfg | {"license": "cc-by-4.0"})
    assert (found.mean, found.px, found.license) == ((0.7, 0.5, 0.6), 96, "cc-by-4.0")
    assert found.note == ""
    mean, std = map(list, IMAGENET)
    assert "make sure" in settle(pretrained_cfg={"mean": mean, "std": std}).note
    with pytest.raises(InputError, match="does not say"):
        settle(pretrained_cfg={"license": "mit"})


def test_what_is_not_followed_of_timms_configuration_is_said():
    cfg = {"mean": [0.7, 0.5, 0.6], "std": [0.2] * 3, "crop_pct": 0.875, "interpolation": "nearest"}
    note = settle(pretrained_cfg=cfg).note
    assert "crop_pct 0.875" in note
    assert "interpolation nearest" in note
    assert settle(pretrained_cfg=cfg | {"crop_pct": 1.0, "interpolation": "bicubic"}).note == ""


@pytest.mark.parametrize("size", [[3, 0, 0], [3, 96, 64], [3, 9000, 9000], [3, 96.5, 96.5]])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(InputError, match=r"pretrained_cfg\.input_size"):
        settle(pretrained_cfg={"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": size})


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"mean": (0.5, 0.5, 0.5)}, "give both"),
        ({"mean": (127, 127, 127), "std": (0.5,) * 3}, "divide by 255"),
        ({"mean": (0.5,) * 3, "std": (0.5, 0, 0.5)}, "--std"),
        ({"mean": (0.5, 0.5), "std": (0.5,) * 3}, "three numbers"),
        ({"mean": (float("nan"),) * 3, "std": (0.5,) * 3}, "three numbers"),
        ({"source": "half", "px": 7}, "--px"),
        ({"source": "half", "mpp": (0.5, -1)}, "--mpp"),
        ({"pretrained_cfg": {"mean": ["a", 1, 1], "std": [1, 1, 1]}}, "pretrained_cfg.mean"),
    ],
)
def test_what_cannot_be_is_refused(said, says):
    with pytest.raises(InputError, match=says):
        settle(**said)
