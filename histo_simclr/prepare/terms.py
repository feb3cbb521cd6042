"""Licences of the cohorts in a mix → what may be done with the mix, and why not."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from histo_simclr.prepare.registry import Cohort

# From the strictest.
USES = ("no", "unknown", "yes")
# CC BY-NC 4.0, cc_by_nc_sa_4.0, Attribution-NonCommercial, non-commercial use …
_NON_COMMERCIAL = re.compile(r"(?<![a-z])nc(?![a-z])|non.?commercial", re.IGNORECASE)


def settle(info: Mapping[str, Any], registered: Cohort | None) -> dict[str, str]:
    """Licence and commercial use of a record set.

    What prepare was told stands; the registry fills what it was not told, and where the two
    disagree the stricter holds. A licence that says NC or non-commercial forbids commercial use by
    itself.

    Args:
      info: content of record_set.json.
      registered: the registry's row of the same cohort, if any.
    """
    license, uses = info["license"], {info["commercial_use"]}
    if registered is not None:
        license = license or registered.license
        uses.add(registered.commercial_use)
    if _NON_COMMERCIAL.search(license):
        uses.add("no")
    stated = uses - {"unknown"}
    return {"license": license, "commercial_use": strictest(stated or uses)}


def strictest(uses: set[str]) -> str:
    """Of several commercial uses the one that binds them all."""
    return next(use for use in USES if use in uses)


def roll_up(sets: Sequence[Mapping[str, Any]], what: str = "this mix") -> dict[str, str]:
    """Commercial use of a whole mix, and a sentence that says why.

    Args:
      sets: cohort, license and commercial_use of each record set that gave rows.
      what: was made of them, in the sentence.
    """
    use = strictest({each["commercial_use"] for each in sets})
    binding = dict.fromkeys(
        f"{each['cohort']} ({each['license'] or 'no licence stated'})"
        for each in sets
        if each["commercial_use"] == use
    )
    says = {
        "no": f"{what} may not be used commercially because of ",
        "unknown": f"it is not known whether {what} may be used commercially, because of ",
        "yes": "the terms of every cohort allow commercial use, as far as they were stated",
    }
    names = "" if use == "yes" else ", ".join(binding)
    return {"commercial_use": use, "commercial_use_because": says[use] + names}
