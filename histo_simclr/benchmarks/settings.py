"""The configuration of a case: a run's own, with keys set as `main.py` sets them."""

import argparse
from typing import Any

from absl import flags
from ml_collections import config_flags

from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr import records
from histo_simclr.errors import InputError


def add_arguments(case: argparse.ArgumentParser) -> None:
    """What decides the configuration; what is not given is the configuration's."""
    recipe = "configs/resnet18_mix.py:tenpercent"
    case.add_argument("--config", default=recipe, help="NAME.py[:preset] (%(default)s)")
    case.add_argument("--arch", help="encoder; input and views have none")
    case.add_argument("--px", type=int, help="side of the views, and of made-up patches")
    case.add_argument("--batch", type=int, help="patches a step")
    case.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any key of the configuration, as main.py takes --config.KEY=VALUE; may be repeated",
    )


def configured(args: argparse.Namespace) -> Any:
    """The configuration that the arguments ask for, its precision named.

    Raises:
      InputError: no such configuration, key, or value of its type.
    """
    config = configs.load(args.config, program="pretrain")
    change(config, args.set)
    if config.precision == "auto":
        config.precision = meshes.compute_dtype("auto").name
    config.model.arch = args.arch or config.model.arch
    if args.px is not None:
        config.views.px = config.data.px = args.px
    config.batch_size = config.batch_size if args.batch is None else args.batch
    return config


def change(config: Any, assignments: list[str]) -> None:
    """Sets KEY=VALUE in place, typed and checked by what checks the flags of `main.py`."""
    for assignment in assignments:
        key, equals, _ = assignment.partition("=")
        if not equals:
            raise InputError("has no =", where=f"--set {assignment}", way_out="give KEY=VALUE")
        argument = f"--config.{assignment}"
        try:
            configs.check_overrides(config, [argument])
            values, given = flags.FlagValues(), ["bench", argument]
            config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=given)
            values(given)
        except InputError as error:
            way_out = error.way_out.replace("--config.", "--set ")
            raise InputError(error.what, where=f"--set {key}", way_out=way_out) from None
        except (flags.Error, KeyError, AttributeError, ValueError, TypeError) as error:
            raise InputError(
                " ".join(str(error).split()),
                where=f"--set {key}",
                way_out="see the configuration file for its keys and presets",
            ) from error


def rows(args: argparse.Namespace, config: Any) -> records.Rows:
    """The rows of --mix or --records; the configuration then says their px."""
    if args.mix:
        found = records.load_mix(args.mix)[0]
    else:
        folder, _, split = args.records.partition(":")
        found = records.load_record_set(folder, split or "train").rows
    config.data.px = found.px
    return found
