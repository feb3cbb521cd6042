"""Which encoder is better, and which than a floor: paired differences and ranks.

Questions to a results.json as `report.read` returns it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from histo_simclr.report import figures, page, words

WHOLE = "100 %"
LEVEL = 0.05
# How the note of a test set begins that is too small (evaluate/statistics.py).
TOO_SMALL = "too small to tell"


def whole_rows(results: dict[str, Any], protocol: str) -> dict[tuple[str, str], dict[str, Any]]:
    """(task, encoder) → row at full labels."""
    return {
        (row["task"], row["encoder"]): row
        for row in results["rows"]
        if row["subset"] == WHOLE and row["protocol"] == protocol
    }


def is_floor(results: dict[str, Any], encoder: str) -> bool:
    """Whether an encoder learned nothing."""
    return results["encoders"][encoder]["kind"] in words.FLOORS


def differences(results: dict[str, Any]) -> list[page.Block]:
    """Of each protocol: the forest of its differences, one for each metric, and their table."""
    blocks: list[page.Block] = []
    for protocol in words.ordered([each["protocol"] for each in results["differences"]]):
        entries = [each for each in results["differences"] if each["protocol"] == protocol]
        blocks.append(page.Heading(words.capital(words.protocol(protocol))))
        for metric in dict.fromkeys(each["metric"] for each in entries):
            blocks += _forest(protocol, metric, [e for e in entries if e["metric"] == metric])
        blocks.append(_table(results, protocol))
    if not blocks:
        return []
    how = (
        "Each difference is between two encoders on the same test examples. [low, high]: 95 % "
        "interval of resampling whole test units (patients or slides where they are known). p: "
        "by swapping the two encoders' predictions within whole units; p (Holm): corrected for "
        "the number of tasks that the two are compared on. Where a test set is too small to "
        "tell, the note says so. L1 is not multiplied here."
    )
    return [page.Text(how), *blocks]


def tuning(results: dict[str, Any]) -> list[page.Block]:
    """Does fine-tuning beat the frozen encoder? A row an encoder and task."""
    rows = [_row(each, each["encoder"], _named(each, words.protocol)) for each in results["tuning"]]
    if not rows:
        return []
    title = "Does fine-tuning beat the frozen encoder?"
    note = (
        "The same encoder, all layers learned against a head alone, on the same test examples; "
        "better: fine-tuning is shown to be better. p (Holm): corrected for the encoder's tasks."
    )
    return [page.Table(title, ("task", "encoder", *_HEADS), tuple(rows), note=note, heads=2)]


def ranks(results: dict[str, Any], styles: Mapping[str, figures.Style]) -> list[page.Block]:
    """Of each protocol: mean ranks with the critical difference."""
    blocks: list[page.Block] = []
    for protocol in words.ordered(list(results["ranking"])):
        ranking = results["ranking"][protocol]
        means = dict(zip(ranking["encoders"], ranking["ranks"], strict=True))
        if any(rank is None for rank in means.values()) or len(means) < 2:
            continue
        order = sorted(means, key=lambda name: means[name])
        listed = ", ".join(f"{name} {means[name]:.2f}" for name in order)
        title = (
            f"Mean ranks over {words.count(ranking['tasks'], 'task')}: {words.protocol(protocol)}"
        )
        critical = ranking["critical_difference"]
        alike = "; ".join(", ".join(names) for names in ranking["alike"])
        friedman = words.probability(ranking["p"])
        caption = (
            "Further left is better. Bars are as long as the critical difference "
            f"({words.number(critical)} ranks, Nemenyi, level 5 %): encoders whose bars do not "
            f"meet differ. Friedman's test that all are alike: p {friedman}; it is rough below "
            f"about 10 tasks. Not told apart: {alike or 'none'}. Mean ranks: {listed}."
        )
        picture = figures.ranks(
            means,
            critical_difference=words.real(critical),
            drawn_as=styles,
        )
        blocks.append(
            page.drawing(title, f"Dots with bars. Mean ranks: {listed}.", caption, picture)
        )
    return blocks


def _table(results: dict[str, Any], protocol: str) -> page.Table | None:
    """Every paired difference of a protocol with its p values and what is to be made of it."""
    entries = [each for each in results["differences"] if each["protocol"] == protocol]
    rows = tuple(_row(each, _named(each)) for each in entries)
    title = f"Differences: {words.protocol(protocol)}"
    return page.Table(title, ("task", *_HEADS), rows, heads=2) if rows else None


_HEADS = (
    "difference",
    "metric",
    "value",
    "p",
    "p (Holm)",
    "swaps",
    "test units",
    "reading",
    "note",
)


def _row(difference: dict[str, Any], *names: str) -> Any:
    """The task, names as they are given, then what _HEADS says after the difference's own."""
    low, high = difference["low"], difference["high"]
    return page.row(
        difference["task"],
        *names,
        words.plainly(difference["metric"]),
        page.Cell(
            words.number(difference["value"], sign=True), words.interval(low, high, sign=True)
        ),
        words.probability(difference["p"]),
        words.probability(difference["p_holm"]),
        _swaps(difference),
        words.count(difference["units"], difference["unit"]),
        verdict(difference),
        difference["note"] or "",
    )


def _named(difference: dict[str, Any], called: Callable[[str], str] = str) -> str:
    return f"{called(difference['first'])} {words.MINUS} {called(difference['second'])}"


def verdict(difference: dict[str, Any]) -> str:
    """Whether the first encoder is better: by the interval, and by p after Holm's correction."""
    if difference["note"].startswith(TOO_SMALL):
        return TOO_SMALL
    side = direction(difference)
    if side == 0:
        return "no difference shown"
    reading = "better" if side > 0 else "worse"
    holm = difference["p_holm"]
    if holm is not None and holm > LEVEL:
        return f"{reading} by its interval; not after Holm"
    return reading


def direction(difference: dict[str, Any]) -> int:
    """1 when the interval says that the first is better, -1 worse, 0 neither."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None or low <= 0 <= high:
        return 0
    return 1 if (low > 0) == words.metric(difference["metric"]).is_larger_better else -1


def shown(difference: dict[str, Any]) -> int:
    """1 when the first is shown to be better, -1 worse; 0 where `verdict` has a reservation."""
    return direction(difference) if verdict(difference) in ("better", "worse") else 0


def against_floors(results: dict[str, Any], kind: str, protocol: str) -> page.Items | None:
    """On how many tasks each encoder is shown to be better than all floors; None without some."""
    rows = whole_rows(results, protocol)
    judged = [name for name in results["encoders"] if not is_floor(results, name)]
    said = []
    for name in judged:
        tasks = [
            task
            for task, encoder in rows
            if encoder == name
            and results["tasks"][task]["kind"] == kind
            and any(
                (task, floor) in rows for floor in results["encoders"] if is_floor(results, floor)
            )
        ]
        above = [task for task in tasks if not any(not_better(results, rows[task, name]))]
        if tasks:
            said.append(
                f"{name}: shown to be better than every floor on {len(above)} of "
                f"{words.count(len(tasks), 'task')}"
            )
    return page.Items(tuple(said)) if said else None


def not_better(results: dict[str, Any], row: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Floors that the row's encoder is not shown to be better than; those that it is worse than."""
    if is_floor(results, row["encoder"]):
        return [], []
    rows, metric = whole_rows(results, row["protocol"]), results["tasks"][row["task"]]["metric"]
    paired = {
        each["second"]: each
        for each in results["differences"]
        if (each["task"], each["protocol"], each["subset"], each["metric"], each["first"])
        == (row["task"], row["protocol"], WHOLE, metric, row["encoder"])
    }
    level, worse = [], []
    for floor in filter(lambda name: is_floor(results, name), results["encoders"]):
        if (row["task"], floor) not in rows:
            continue
        if floor in paired:
            side = shown(paired[floor])
        else:
            own, other = value_of(row, metric), value_of(rows[row["task"], floor], metric)
            side = 1 if is_better(own, other, metric) else 0
        if side < 1:
            (worse if side else level).append(floor)
    return level, worse


def is_better(own: float | None, other: float | None, metric: str) -> bool:
    """Whether one value is better than another; what is not defined is not."""
    if own is None or other is None:
        return False
    return own > other if words.metric(metric).is_larger_better else own < other


def value_of(row: dict[str, Any] | None, metric: str) -> float | None:
    """A row's value of a metric, if there are both."""
    return row["metrics"].get(metric, {}).get("value") if row else None


def _swaps(difference: dict[str, Any]) -> str:
    tried = words.count(difference["swaps"])
    return f"all {tried}" if difference["exact"] else tried


def _forest(protocol: str, metric: str, entries: Sequence[dict[str, Any]]) -> list[page.Block]:
    groups: dict[str, list[figures.Difference]] = {}
    for each in entries:
        if each["value"] is None:
            continue
        line = figures.Difference(
            _named(each),
            *(words.real(each[key]) for key in ("value", "low", "high")),
            shown(each),
        )
        groups.setdefault(each["task"], []).append(line)
    if not groups:
        return []
    sides = [line.direction for lines in groups.values() for line in lines]
    name = words.plainly(metric)
    alt = (
        f"Forest plot of {words.count(len(sides), 'difference')}: the first encoder is better in "
        f"{sides.count(1)}, worse in {sides.count(-1)}; {sides.count(0)} show no difference. The "
        "numbers are in the table below."
    )
    caption = (
        "Each line is a 95 % interval. Right of 0 (filled, pointing right) the first encoder of "
        "the pair is better, left of it (pointing left) worse. An open circle shows no difference: "
        "its line crosses 0, or too many were tested (Holm), or the test set is too small."
    )
    picture = figures.forest(
        groups, metric=name, is_larger_better=words.metric(metric).is_larger_better
    )
    title = f"Differences in {name}: {words.protocol(protocol)}"
    return [page.drawing(title, alt, caption, picture)]
