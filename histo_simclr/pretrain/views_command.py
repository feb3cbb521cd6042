"""The command `views`: a mix and a configuration → a picture of patches beside their views."""

import argparse
from pathlib import Path

from histo_simclr import config, records
from histo_simclr.errors import InputError
from histo_simclr.pretrain import preview


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Adds the flags of `histo-simclr views`."""
    sub.add_argument("mix", type=Path, help="folder written by `histo-simclr mix`")
    sub.add_argument("--out", type=Path, required=True, help="PNG to write")
    sub.add_argument("--config", default="configs/resnet18_mix.py", help="NAME.py[:preset]")
    sub.add_argument("--patches", type=_count, default=8, help="rows of the picture")
    sub.add_argument("--pairs", type=_count, default=4, help="pairs of views beside each patch")
    sub.add_argument("--seed", type=_count, default=1, help="chooses patches and views")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> None:
    """`histo-simclr views`: draws what the pretraining would look at."""
    recipe = config.load(args.config, program="pretrain")
    rows, _ = records.load_mix(args.mix)
    if args.patches > len(rows):
        raise InputError(
            f"{args.patches} patches wanted, the mix holds {len(rows)}",
            where="--patches",
            way_out="ask for fewer",
        )
    preview.write_views(
        rows,
        recipe.views,
        args.out,
        patches=args.patches,
        pairs=args.pairs,
        seed=args.seed,
        max_corrupt=recipe.data.max_corrupt,
    )
    print(f"wrote {args.out}: {args.patches} patches, {args.pairs} pairs of views of each")
