"""Runs one program: `python main.py --config=configs/NAME.py[:preset] [--workdir=DIR]`.

The configuration decides everything that changes results; it names its program. Any of its keys can
be set on the command line: `--config.batch_size=256`.
"""

import logging
import os
import sys
from pathlib import Path

import absl.logging
from absl import app, flags
from ml_collections import config_flags

from histo_simclr import config as configs
from histo_simclr import out_of_memory
from histo_simclr.errors import InputError

CONFIG = config_flags.DEFINE_config_file("config", None, "configs/NAME.py[:preset]")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run; runs/NAME[_preset] by default")


def main(_: list[str]) -> None:
    """Calls the program that the configuration names."""
    config = CONFIG.value
    # Imported late: a misspelt key is refused before JAX and TensorFlow take their seconds.
    if config.program == "pretrain":
        from histo_simclr.pretrain.train import run
    elif config.program == "linear_eval":
        from histo_simclr.evaluate.linear_eval import run
    elif config.program == "evaluate":
        from histo_simclr.suite.program import run
    else:
        raise InputError(
            f"unknown program {config.program!r}",
            where="config.program",
            way_out="choose pretrain, linear_eval or evaluate",
        )
    from histo_simclr import processes

    with processes.ending_together(), out_of_memory.naming(out_of_memory.LEVERS[config.program]):
        run(config, Path(WORKDIR.value or default_workdir(sys.argv)))


def named_config(arguments: list[str]) -> tuple[Path, str]:
    """File and preset of `--config=FILE[:preset]`; InputError when it is not given."""
    way_out = "give --config=configs/resnet18_mix.py"
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.lstrip("-").partition("=")
        given = value if equals else following
        if name == "config" and given and not given.startswith("-"):
            path, _, preset = given.partition(":")
            return Path(path), preset
    raise InputError("no configuration", where="--config", way_out=way_out)


def default_workdir(arguments: list[str]) -> Path:
    """`runs/resnet18_mix_overnight` for `--config=configs/resnet18_mix.py:overnight`."""
    path, preset = named_config(arguments)
    return Path("runs") / "_".join(filter(None, [path.stem, preset]))


def parse(arguments: list[str]) -> list[str]:
    """Parses flags; what the configuration refuses becomes one line."""
    if not {"--help", "--helpfull", "-h"} & set(arguments):
        path, preset = named_config(arguments)
        configs.check_overrides(configs.load(f"{path}:{preset}"), arguments)
    try:
        rest = flags.FLAGS(arguments)
    except (flags.Error, KeyError, AttributeError, ValueError, TypeError, OSError) as error:
        raise InputError(
            " ".join(str(error).split()),
            where="command line",
            way_out="see the configuration file for its keys and presets",
        ) from error
    if len(rest) > 1:
        raise InputError(
            f"unexpected argument {rest[1]!r}", where="command line", way_out="flags only"
        )
    return rest


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # which it announces; we only decode by it
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    absl.logging.set_verbosity(absl.logging.WARNING)  # Orbax tells its inner life at INFO
    try:
        app.run(main, flags_parser=parse)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read what is printed is gone, as after `| head`. Python must not try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit("stopped: nobody reads what is printed; the same command goes on")
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
