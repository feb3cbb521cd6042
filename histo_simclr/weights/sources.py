"""Named sources of weights: what their authors fed them, and under which terms they gave them.

Weights without their statistics are half a model: features with another normalization look
plausible and are worse. So statistics are known of a source, said by the file, or asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from histo_simclr.errors import InputError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PX = 224  # where nobody says: what all of these were trained on
UNSTATED = "NOASSERTION"  # SPDX: no licence was stated


class Source(NamedTuple):
    """One source.

    Fields:
      name: for --source.
      mean, std: per channel of pixels in [0, 1].
      archs: of its weights; () of sources that have any.
      license: SPDX; "NOASSERTION" where none is stated.
      citation, url: of the work, of the files.
      note: what to know before using them.
      sha256: of files known whole.
      beginnings: first eight digits of others' sha256, which their own file names state.
    """

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    archs: tuple[str, ...]
    license: str
    citation: str
    url: str
    note: str = ""
    sha256: tuple[str, ...] = ()
    beginnings: tuple[str, ...] = ()


_CIGA = "Ciga, Xu, Martel 2022, doi:10.1016/j.mlwa.2021.100198 (arXiv:2011.13971)"
_CIGA_NOTE = (
    "its author fed 0.5/0.5 and found ImageNet's mean and std no better; others (marugoto, hi-ml) "
    "fed ImageNet's, so their features differ from these"
)
SOURCES = (
    Source(
        "ciga",
        *HALF,
        ("resnet18",),
        "MIT",
        _CIGA,
        "https://github.com/ozanciga/self-supervised-histopathology",
        _CIGA_NOTE,
        sha256=(
            "61dc3ce7273f4ecb2960c3df31b67e36c38e4f30d9622b42496f842752992117",
            "ae652d1a586c1be11b8ed7f4033094a98ac9c620e43a28998c6c86d248e750ab",
        ),
    ),
    Source(
        "ciga-larger",
        *HALF,
        ("resnet34", "resnet50", "resnet101"),
        UNSTATED,
        _CIGA,
        "https://github.com/martellab-sri/self-supervised-histopathology",
        f"{_CIGA_NOTE}; that repository states no licence",
    ),
    # The Lunit statistics are its authors'; a copy on the Hugging Face hub ships ImageNet's.
    Source(
        "lunit",
        (0.70322989, 0.53606487, 0.66096631),
        (0.21716536, 0.26081574, 0.20723464),
        ("resnet50",),
        "LicenseRef-Lunit-non-commercial",
        "Kang et al. 2023, CVPR (arXiv:2212.04690)",
        "https://github.com/lunit-io/benchmark-ssl-pathology",
        "for research only, says its licence",
    ),
    Source(
        "torchvision",
        *IMAGENET,
        ("resnet18", "resnet34", "resnet50", "resnet101"),
        "BSD-3-Clause",
        "He et al. 2016, CVPR (arXiv:1512.03385)",
        "https://docs.pytorch.org/vision/stable/models/resnet.html",
        "trained on ImageNet, whose pictures are for research only",
        # V1, V2 where there is one, and the files of before torchvision 0.10.
        beginnings=(
            *("f37072fd", "b627a593", "0676ba61", "11ad3fa6", "63fe2227", "cd907fc2"),
            *("5c106cde", "333f7ec4", "19c8e357", "5d3b4d8f"),
        ),
    ),
    Source("imagenet", *IMAGENET, (), UNSTATED, "", "", "any weights that expect ImageNet's"),
    Source("half", *HALF, (), UNSTATED, "", "", "any weights that expect pixels in [-1, 1]"),
    Source("unit", (0.0,) * 3, (1.0,) * 3, (), UNSTATED, "", "", "any weights that expect [0, 1]"),
)


class Known(NamedTuple):
    """What is known of a file: a source's facts, with what the user or the file said instead."""

    source: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    px: int
    mpp: tuple[float, ...]
    license: str
    citation: str
    url: str
    note: str
    told_by: str


def settle(
    *,
    sha256: str,
    arch: str,
    pretrained_cfg: Mapping[str, Any] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    px: int,
    mpp: Sequence[float],
    source: str,
    license: str,
    where: object,
) -> Known:
    """What holds of a file: flags first, then the named source, its digest, timm's own words.

    Args:
      sha256, arch, pretrained_cfg: of the file.
      mean, std, px, mpp, source, license: what the user says; None, 0, () and "" where nothing.
      where: the file, for messages.

    Raises:
      InputError: the normalization is not known, or what was said cannot be.
    """
    known = _named(source, arch) if source else _recognized(sha256)
    told_by = (
        f"--source {source}" if source else f"{known.name}, known by its sha256" if known else ""
    )
    facts = known._asdict() if known else {}
    if not known and pretrained_cfg is not None:
        facts = _of_timm(pretrained_cfg, where)
        told_by = "pretrained_cfg of its config.json" if facts else ""
    if (mean is None) != (std is None):
        raise InputError(
            "needs the other too", where="--mean, --std", way_out="give both, or neither"
        )
    if mean is not None and std is not None:
        facts |= {"mean": _three(mean, "--mean", 0.0), "std": _three(std, "--std", 1e-6)}
        told_by = "--mean and --std"
    if "mean" not in facts:
        raise InputError(
            "does not say how its pixels were normalized, and is of no source known here",
            where=where,
            way_out="give --source NAME, or --mean r,g,b --std r,g,b of pixels in [0, 1]",
            listed=[f"--source {each.name}: {_described(each)}" for each in SOURCES],
        )
    return Known(
        source=facts.get("name", ""),
        mean=facts["mean"],
        std=facts["std"],
        px=_px(px) if px else facts.get("px", PX),
        mpp=_mpp(mpp),
        license=license or facts.get("license") or UNSTATED,
        citation=facts.get("citation", ""),
        url=facts.get("url", ""),
        note=facts.get("note", ""),
        told_by=told_by,
    )


def _named(name: str, arch: str) -> Source:
    found = next((each for each in SOURCES if each.name == name), None)
    names = ", ".join(each.name for each in SOURCES)
    if found is None:
        raise InputError(f"unknown source {name!r}", where="--source", way_out=f"one of {names}")
    if found.archs and arch not in found.archs:
        raise InputError(
            f"{name} has {', '.join(found.archs)}; the file holds a {arch}",
            where="--source",
            way_out=f"give another of {names}, or --mean and --std",
        )
    return found


def _recognized(sha256: str) -> Source | None:
    return next(
        (each for each in SOURCES if sha256 in each.sha256 or sha256[:8] in each.beginnings), None
    )


def _of_timm(cfg: Mapping[str, Any], where: object) -> dict[str, Any]:
    """Facts in timm's pretrained_cfg; {} when it has no statistics."""
    if not isinstance(cfg.get("mean"), list) or not isinstance(cfg.get("std"), list):
        return {}
    names = [f"{where}: pretrained_cfg.{name}" for name in ("mean", "std")]
    facts: dict[str, Any] = {
        "mean": _three(cfg["mean"], names[0], 0.0),
        "std": _three(cfg["std"], names[1], 1e-6),
        "license": str(cfg.get("license") or ""),
        "url": str(cfg.get("origin_url") or ""),
    }
    size = cfg.get("input_size")
    if isinstance(size, list) and len(size) == 3:
        if size[1] != size[2] or type(size[2]) is not int:
            raise InputError(
                f"pretrained_cfg.input_size is {size}, no square",
                where=where,
                way_out="correct it in config.json",
            )
        facts["px"] = _px(size[2], f"{where}: pretrained_cfg.input_size")
    return facts | {"note": "; ".join(_timm_notes(cfg, facts))}


def _timm_notes(cfg: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What to know of timm's configuration: doubtful statistics, another way to its input."""
    notes = []
    if (facts["mean"], facts["std"]) == IMAGENET:
        notes.append(
            "these are ImageNet's, timm's default: make sure that the weights were trained so"
        )
    if (crop := cfg.get("crop_pct", 1)) != 1:
        notes.append(f"its crop_pct {crop} is not followed: whole patches are taken here")
    way = cfg.get("interpolation", "bilinear")
    if way not in ("bilinear", "bicubic"):
        notes.append(f"its interpolation {way} is not followed: patches are resized bilinearly")
    return notes


def _three(values: Sequence[Any], where: str, least: float) -> tuple[float, float, float]:
    numbers = [each for each in values if isinstance(each, int | float)]
    if len(values) != 3 or len(numbers) != 3 or not all(least <= each <= 1 for each in numbers):
        raise InputError(
            f"is {', '.join(map(str, values))}",
            where=where,
            way_out="give three numbers, red, green, blue, of pixels in [0, 1]; divide by 255 what "
            "is of pixels in [0, 255]",
        )
    first, second, third = map(float, numbers)
    return first, second, third


def _px(px: int, where: object = "--px") -> int:
    if not 32 <= px <= 4096:
        raise InputError(f"is {px}", where=where, way_out="give 32 to 4096 pixels")
    return px


def _mpp(mpp: Sequence[float]) -> tuple[float, ...]:
    if not all(0.01 <= each <= 100 for each in mpp):
        raise InputError(
            f"is {', '.join(map(str, mpp))}", where="--mpp", way_out="give µm/px, as in 0.5"
        )
    return tuple(sorted({float(each) for each in mpp}))


def _described(source: Source) -> str:
    numbers = "; ".join(",".join(f"{v:.4g}" for v in each) for each in (source.mean, source.std))
    return f"{numbers}{f' ({source.citation})' if source.citation else f' ({source.note})'}"
