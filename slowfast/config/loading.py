"""From files and command lines to validated, frozen configurations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast.config.defaults import get_cfg
from slowfast.config.node import CfgNode
from slowfast.config.validate import check
from slowfast.config.yaml_files import Settings, flatten

_EXAMPLE = "python tools/run_net.py --cfg configs/Kinetics/SLOWFAST_8x8_R50.yaml NUM_GPUS 0"


def load_cfg(path: str | Path, overrides: Sequence[Any] = ()) -> CfgNode:
    """The defaults, then the file (and its bases), then `[key, value, ...]`; checked and frozen.

    Raises FileNotFoundError or ValueError with the file, the key and a way out.
    """
    cfg = get_cfg()
    cfg.merge_from_file(path)
    cfg.merge_from_list(list(overrides))
    check(cfg, f"{path} and the command line" if overrides else str(path))
    cfg.freeze()
    return cfg


def from_tree(tree: Mapping[str, Any], source: str) -> CfgNode:
    """The defaults, then the nested values of `tree`; checked and frozen.

    Raises ValueError that starts with `source` and names every unknown key and bad value.
    """
    cfg = get_cfg()
    cfg.merge_settings(Settings(source, dict(flatten(tree))))
    check(cfg, source)
    cfg.freeze()
    return cfg


@dataclass(frozen=True)
class Shards:
    """This command is number `index` of `count`, one per machine, which meet at `init_method`."""

    index: int = 0
    count: int = 1
    init_method: str = "tcp://localhost:9999"


def parse_args(argv: Sequence[str] | None = None, description: str = "") -> list[CfgNode]:
    """One frozen configuration per `--cfg` file, each with the same overrides.

        --cfg A.yaml [B.yaml ...] [--opts] KEY VALUE [KEY VALUE ...]

    Without `--opts`, the first word after the YAML files starts the overrides.  On a user's error
    prints one sentence and exits with status 2.
    """
    return _parse(_parser(description), sys.argv[1:] if argv is None else argv)


def parse_run_args(
    argv: Sequence[str] | None = None, description: str = ""
) -> tuple[list[CfgNode], Shards]:
    """As `parse_args`, and what PySlowFast's flags for several machines say, wherever they stand.

    --shard_id I --num_shards N --init_method tcp://HOST:PORT
    """
    flags = _shard_flags()
    found, rest = flags.parse_known_args(sys.argv[1:] if argv is None else argv)
    shards = Shards(found.shard_id, found.num_shards, found.init_method)
    parser = _parser(description, flags)
    if not 0 <= shards.index < shards.count:
        parser.error(
            f"--shard_id {shards.index} must be 0 to {shards.count - 1}: --num_shards is "
            f"{shards.count}, and the first machine has number 0"
        )
    return _parse(parser, rest), shards


def _parser(description: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s --cfg A.yaml [B.yaml ...] [--opts] KEY VALUE [KEY VALUE ...]",
        epilog=f"example:\n  {_EXAMPLE}\nslowfast/config/defaults explains every KEY.",
        allow_abbrev=False,
        parents=parents,
    )
    parser.add_argument(
        "--cfg",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="YAML files, each a run of its own",
    )
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    return parser


def _shard_flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    group = flags.add_argument_group("several machines (or use torchrun or srun)")
    group.add_argument("--num_shards", type=int, default=1, metavar="N", help="machines")
    group.add_argument("--shard_id", type=int, default=0, metavar="I", help="this one, from 0")
    group.add_argument(
        "--init_method",
        default=Shards.init_method,
        metavar="URL",
        help="where they meet: tcp://HOST:PORT of the machine of --shard_id 0",
    )
    return flags


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[CfgNode]:
    args = parser.parse_args(_mark_overrides(argv))
    if not args.cfg:
        parser.error(f"--cfg is missing; example: {_EXAMPLE}")
    overrides = [word for word in args.opts if word != "--opts"]
    try:
        return [load_cfg(path, overrides) for path in args.cfg]
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def input_size(cfg: CfgNode) -> int:
    """The height and width of what the network sees in training, in pixels."""
    distilled = cfg.OBJECTIVE.NAME == "distill" and cfg.DISTILL.STUDENT_SIZE
    return distilled or cfg.DATA.TRAIN_CROP_SIZE


def trained_sizes(cfg: CfgNode) -> tuple[int, ...]:
    """The sizes in pixels that each frame count is trained at; none where there is only one."""
    return tuple(cfg.FFN.SIZES) if cfg.FFN.ENABLE else ()


def tested_sizes(cfg: CfgNode) -> tuple[int, ...]:
    """The sizes in pixels that each frame count is tested at; none for that of the crop alone."""
    return tuple(sorted(set(cfg.TEST.SIZES))) or trained_sizes(cfg)


def frame_counts(cfg: CfgNode) -> tuple[int, ...]:
    """The trained frame counts, low to high: FFN's, or the only one of a plain network."""
    return tuple(cfg.FFN.NUM_FRAMES) if cfg.FFN.ENABLE else (cfg.DATA.NUM_FRAMES,)


def _mark_overrides(argv: Sequence[str]) -> list[str]:
    """`argv` with `--opts` put before the overrides, so that argparse leaves them alone.

    --cfg A.yaml B.yaml SOLVER.BASE_LR 1e-3   ->   --cfg A.yaml B.yaml --opts SOLVER.BASE_LR 1e-3
    """
    words = list(argv)
    after_cfg = False
    for i, word in enumerate(words):
        if word == "--opts":
            break
        is_file = word.endswith((".yaml", ".yml")) or words[i - 1] == "--cfg"
        if after_cfg and not word.startswith("-") and not is_file:
            return [*words[:i], "--opts", *words[i:]]
        after_cfg = after_cfg or word.partition("=")[0] == "--cfg"
    return words
