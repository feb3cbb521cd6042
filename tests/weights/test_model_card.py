"""The card says what is known, what is not, and nothing that breaks its Markdown or YAML."""

import dataclasses

import pytest
import yaml

from histo_simclr.weights import model_card
from histo_simclr.weights.card_results import Result

LABEL = {"model_sha256": "5ee", "exported_by": "histo-simclr 0.1.0"}
RESULTS = (
    Result("pcam", "linear", "random init", False, {"macro_f1": (0.7, 0.65, 0.75)}, "1", ()),
    Result("pcam", "linear", "this encoder", True, {"macro_f1": (0.8, 0.75, 0.85)}, "1", ("odd",)),
)


def front(card: str) -> dict:
    _, head, _ = card.split("---\n", 2)
    return yaml.safe_load(head)


def mixed(looks, **cohorts):
    stated = {"rows": 1, "stain": "H&E", "commercial_use": "yes"}
    mix = {"cohorts": {name: stated | {"license": each} for name, each in cohorts.items()}}
    return dataclasses.replace(looks, mix=mix)


@pytest.fixture
def imported(looks):
    origin = {
        "kind": "imported",
        "file": "tenpercent_resnet18.ckpt",
        "sha256": "61dc",
        "source": "ciga",
        "license": "MIT",
        "citation": "Ciga et al. 2022",
        "url": "https://example.org/x",
    }
    return dataclasses.replace(looks, mix={}, config={}, mpp=(), hidden=0, out=0, origin=origin)


def test_the_head_shows_results_of_this_encoder_alone(looks):
    head = front(model_card.full(looks, LABEL, results=RESULTS))
    assert head["library_name"] == "timm"
    assert head["pipeline_tag"] == "image-feature-extraction"
    assert head["metrics"] == ["f1"]
    ((one,),) = [each["results"] for each in head["model-index"]]
    assert one["dataset"] == {"type": "pcam", "name": "pcam", "split": "test"}
    assert one["metrics"] == [{"type": "f1", "name": "macro-F1", "value": 0.8}]


def test_floors_and_notes_stand_beside_the_results(looks):
    card = model_card.full(looks, LABEL, results=RESULTS)
    assert "| pcam | linear | random init | 0.700 [0.650, 0.750] | 1 |" in card
    assert "| pcam | linear | **this encoder** | 0.800 [0.750, 0.850] | 1 |" in card
    assert "- pcam: odd" in card


def test_without_results_nothing_is_claimed(looks):
    card = model_card.full(looks, LABEL, results=())
    assert "None are attached: nothing is claimed" in card
    assert "model-index" not in front(card)


def test_one_forbidding_cohort_forbids_commercial_use_and_is_named(looks):
    card = model_card.full(looks, LABEL, results=())
    assert "Commercial use: **no** (this encoder may not be used commercially because of " in card
    assert "(CC-BY-NC-4.0)" in card
    head = front(card)
    assert (head["license"], head["license_link"]) == ("other", "README.md#terms")


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (("CC0-1.0", "CC0-1.0"), "cc0-1.0"),
        (("CC BY 4.0",), "cc-by-4.0"),
        (("CC0-1.0", "CC-BY-4.0"), "other"),
        (("free to use",), "other"),
        (("",), "other"),
        (("CC0-1.0\nmit",), "other"),
    ],
)
def test_a_licence_is_named_where_all_data_have_one_that_the_hub_knows(looks, licenses, expected):
    cohorts = {f"c{number}": each for number, each in enumerate(licenses)}
    assert model_card.license_of(mixed(looks, **cohorts)) == expected


def test_names_cannot_break_the_table(looks):
    card = model_card.full(looks, LABEL, results=())
    (line,) = [line for line in card.splitlines() if line.startswith("| glands")]
    assert line.startswith("| glands\\|odd | 100 | 3 | colon &lt;b> | PAS | not stated | CC-BY-NC")


def test_imported_weights_keep_their_terms_and_their_unknowns(imported):
    card = model_card.full(imported, LABEL, results=())
    assert front(card)["license"] == "mit"
    assert "# resnet18, imported from ciga" in card
    assert "Unknown here: the weights were imported (source ciga, file tenpercent_" in card
    assert "Commercial use: **unknown** (it is not known whether this encoder may be" in card
    assert "| µm/px | unknown |" in card
    assert "The weights: Ciga et al. 2022" in card
    assert "## Training\n" not in card


def test_what_the_input_must_be_is_in_both_cards(looks):
    for card in (model_card.short(looks, LABEL), model_card.full(looks, LABEL, results=())):
        assert "minus mean (0.7, 0.55, 0.65), divided by std (0.2, 0.25, 0.3)" in card
        assert "| µm/px | 0.972; some patches did not say |" in card
        assert "| side of a patch | 62.21 µm |" in card
        assert "## Terms" in card
    assert "not for diagnosis" in card


def test_patches_seen_are_counted_by_the_step_or_not_at_all(looks):
    assert "patches seen" not in model_card.full(looks, LABEL, results=())
    card = model_card.full(looks, LABEL | {"step": 80}, results=())
    assert "| patches seen | 5,120, counting each pass |" in card  # 80 batches of 64


def started(looks, before):
    """`looks` as a run that started from `before`."""
    start = {"name": "theirs", "digest": "d" * 64, "step": None, "taken": ["encoder"]}
    start |= {"provenance": before.to_json()}
    return dataclasses.replace(looks, origin={"kind": "pretrained", "init_from": start})


def test_the_terms_of_the_weights_it_started_from_bind_it(looks, imported):
    origin = imported.origin | {"license": "LicenseRef-Lunit-non-commercial", "note": "research"}
    before = dataclasses.replace(imported, origin=origin)
    free = mixed(looks, pcam="CC0-1.0")
    assert "Commercial use: **yes**" in model_card.full(free, LABEL, results=())
    assert model_card.license_of(free) == "cc0-1.0"
    adapted = started(free, before)
    assert model_card.license_of(adapted) == "other"
    for card in (model_card.full(adapted, LABEL, results=()), model_card.short(adapted, LABEL)):
        assert "Commercial use: **no**" in card
        assert "CC0-1.0; LicenseRef-Lunit-non-commercial" in card
        assert "research." in card


def test_what_it_started_from_is_a_sentence(looks, imported):
    card = model_card.full(started(looks, imported), LABEL, results=())
    assert (
        f"It started from other weights: ciga (`{'d' * 16}`), and nobody here knows what these had "
        "seen; encoder taken." in card
    )


def test_the_one_licence_of_imported_weights_is_named(imported):
    origin = imported.origin | {"license": "LicenseRef-Lunit-non-commercial"}
    card = model_card.full(dataclasses.replace(imported, origin=origin), LABEL, results=())
    assert "Licence: LicenseRef-Lunit-non-commercial." in card
    origin = imported.origin | {"license": "NOASSERTION"}
    card = model_card.full(dataclasses.replace(imported, origin=origin), LABEL, results=())
    assert "Licence: none stated." in card
