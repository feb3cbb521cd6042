import pytest

from histo_simclr.embed import shares
from histo_simclr.embed.shares import Share
from histo_simclr.errors import InputError
from histo_simclr.prepare.item import Item


def items(*names):
    return [Item(name, name) for name in names]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_slide_is_in_one_share(count):
    names = [f"{number}.svs" for number in range(20)]
    found = [shares.of(items(*names), Share(number, count)) for number in range(1, count + 1)]
    assert sorted(item.name for share in found for item in share) == sorted(names)
    sizes = [len(share) for share in found]
    assert max(sizes) - min(sizes) <= 1


def test_the_dicom_files_of_a_folder_stay_together():
    """They may be levels of one slide, which two processes would both embed."""
    given = items("a/1.dcm", "b.svs", "a/2.dcm", "c.svs", "d/1.DCM", "a/3.svs")
    found = [[item.name for item in shares.of(given, Share(n, 2))] for n in (1, 2)]
    assert found == [["a/1.dcm", "a/2.dcm", "c.svs", "a/3.svs"], ["b.svs", "d/1.DCM"]]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, "1/1"),
        ({"ID": 0, "COUNT": 8, "MIN": 0, "MAX": 7}, "1/8"),
        ({"ID": 8, "COUNT": 8, "MIN": 1, "MAX": 8}, "8/8"),
    ],
)
def test_slurm_says_which_share(told, expected):
    environment = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in told.items()}
    assert str(shares.from_environment(environment)) == expected


def test_an_array_with_gaps_is_refused():
    """Started again with --array=3,7, task 7 would take the slides of another than before."""
    told = {"ID": 7, "COUNT": 2, "MIN": 3, "MAX": 7}
    with pytest.raises(InputError, match="tasks 3 to 7 are 2 tasks; give --share I/N"):
        shares.from_environment({f"SLURM_ARRAY_TASK_{name}": str(n) for name, n in told.items()})


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1", "-1/2", "1/2/3", "a/b", "1/0"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(InputError, match="--share"):
        shares.parse(text)
