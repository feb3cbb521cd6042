"""README.md of an exported folder: the model card, for people and, at its head, for the Hub.

Everything in it comes from the provenance, the label and results of evaluations; what is unknown
is said to be unknown. The head is plain YAML, so the card's bytes do not depend on whether
huggingface_hub is installed, which reads it. It lists no `datasets`: the Hub takes these for names
of its own, and cohorts are none.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from histo_simclr.prepare import stages
from histo_simclr.provenance import Provenance
from histo_simclr.weights import card_text
from histo_simclr.weights.card_results import METRICS, Result

# The Hub's names of licences are SPDX's in small letters, of these that cohorts have.
_HUB_LICENSES = re.compile(
    r"mit|apache-2\.0|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[234]\.0|bsd-[23]-clause|unlicense|gpl-3\.0"
)
OTHER = "other"


def short(provenance: Provenance, label: dict[str, Any]) -> str:
    """How to use it, what input it expects, under what terms."""
    return _card(
        _head(provenance, ()),
        provenance,
        [
            card_text.use(),
            card_text.input(provenance),
            _conditions(provenance),
            card_text.identity(provenance, label),
        ],
    )


def full(provenance: Provenance, label: dict[str, Any], *, results: Sequence[Result]) -> str:
    """The card for publication: also data, training, results, limits, citation."""
    return _card(
        _head(provenance, results),
        provenance,
        [
            card_text.use(),
            card_text.input(provenance),
            card_text.data(provenance),
            _conditions(provenance),
            card_text.results(results),
            card_text.intended(provenance),
            card_text.training(provenance, label),
            card_text.citation(provenance),
            card_text.identity(provenance, label),
        ],
    )


def _conditions(provenance: Provenance) -> str:
    use, said = commercial_use(provenance), notes(provenance)
    return card_text.conditions(licenses(provenance), use, said)


def license_of(provenance: Provenance) -> str:
    """The Hub's name of the licence, where all data have the same one that it knows; else "other".

    What the weights started from counts as the data do; others' weights are not ours to license.
    """
    (one, *more) = licenses(provenance) or [""]
    known = one.lower().replace(" ", "-")
    return known if not more and _HUB_LICENSES.fullmatch(known) else OTHER


def licenses(provenance: Provenance) -> list[str]:
    """Those of all that the encoder saw or started from; "" stands for none stated."""
    return stages.licenses_of(stages.of_encoder(provenance, None))


def commercial_use(provenance: Provenance) -> dict[str, str]:
    """The strictest terms of all that the encoder saw or started from, as `inspect` tells them."""
    return stages.terms_of(stages.of_encoder(provenance, None), "this encoder")


def notes(provenance: Provenance) -> list[str]:
    """What is to be known of imported weights behind the encoder."""
    return [each.origin["note"] for each in provenance.lineage() if each.origin.get("note")]


def _head(provenance: Provenance, results: Sequence[Result]) -> dict[str, Any]:
    license_name = license_of(provenance)
    head: dict[str, Any] = {"license": license_name}
    if license_name == OTHER:
        head |= {"license_name": "see-terms", "license_link": "README.md#terms"}
    head |= {
        "library_name": "timm",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["timm", "histopathology", "self-supervised-learning", "simclr", provenance.arch],
    }
    if index := _model_index(provenance, results):
        named = dict.fromkeys(METRICS[name][1] for each in results for name in each.metrics)
        head |= {"metrics": list(named), "model-index": index}
    return head


def _model_index(provenance: Provenance, results: Sequence[Result]) -> list[dict[str, Any]]:
    """This encoder's results as the Hub shows them; floors are in the card's table alone."""
    shown = [
        {
            "task": {"type": "image-classification", "name": each.protocol},
            "dataset": {"type": each.task, "name": each.task, "split": "test"},
            "metrics": [
                {"type": METRICS[name][1], "name": METRICS[name][0], "value": value}
                for name, (value, _, _) in each.metrics.items()
            ],
        }
        for each in results
        if each.is_this and each.metrics
    ]
    return [{"name": card_text.name(provenance), "results": shown}] if shown else []


def _card(head: dict[str, Any], provenance: Provenance, sections: Sequence[str]) -> str:
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---", f"# {card_text.title(provenance)}", *filter(None, sections)]
    return "\n\n".join(parts) + "\n"
