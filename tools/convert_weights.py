#!/usr/bin/env python3
"""Turn a published checkpoint into a file that `slowfast.load` needs nothing else for.

    python tools/convert_weights.py SLOWFAST_8x8_R50.pkl \\
        --cfg configs/Kinetics/SLOWFAST_8x8_R50.yaml --out slowfast.safetensors

The YAML, and KEY VALUE pairs behind it, say which network the weights go into; a frame-flexible one
gets its private layers from plain weights.  What became of every name is printed.  Nothing is
written unless all is explained, and never over another file.  An --out that ends in .pyth is a
checkpoint for PySlowFast.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.command_line import check_folder, exit_code
from slowfast.config import CfgNode, load_cfg

if TYPE_CHECKING:
    from torch import nn

SUFFIXES = (".safetensors", ".pyth")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", help="the checkpoint; its content tells what it is")
    parser.add_argument(
        "--cfg", nargs="+", metavar=("YAML", "KEY VALUE"), help="the network; overrides may follow"
    )
    parser.add_argument("--out", type=Path, help="file to write, .safetensors or .pyth")
    parser.add_argument(
        "--new-head",
        action="store_true",
        help="keep a new classifier where the checkpoint has another number of classes",
    )
    parser.add_argument("--format", default="auto", help="see --list; auto tells it by the names")
    parser.add_argument("--labels", type=Path, help="text file with a class name per line")
    parser.add_argument("--list", action="store_true", help="list the formats and exit")
    args = parser.parse_args(argv)
    if not args.list and not (args.source and args.cfg and args.out):
        parser.error("give SOURCE, --cfg YAML and --out FILE, or --list")
    if args.out and args.out.suffix not in SUFFIXES:
        parser.error(f"--out {args.out} must end in {' or '.join(SUFFIXES)}")
    if args.labels and args.out and args.out.suffix != ".safetensors":
        parser.error(f"--labels go into .safetensors only, not into {args.out}")
    return args


def convert(args: argparse.Namespace) -> None:
    """Reads, explains and writes; raises ValueError or OSError for what the user can mend."""
    refuse_existing(args.out, args.source)
    check_folder("--out", args.out.parent)
    cfg = load_cfg(args.cfg[0], args.cfg[1:])
    import torch

    from slowfast.models import build_model
    from slowfast.weights import load_weights, save

    torch.manual_seed(cfg.RNG_SEED)  # a new classifier is the same each time
    model = build_model(cfg)
    report = load_weights(model, args.source, args.format, args.new_head)
    print(report.table(full=True))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.out.suffix == ".pyth":
        save_for_pyslowfast(model, cfg, args.out)
    else:
        save(model, cfg, args.out, class_names(args))
    print(f"wrote {args.out}")


def refuse_existing(out: Path, source: str) -> None:
    """Raises ValueError rather than write over something."""
    if not out.exists():
        return
    if os.path.exists(source) and out.samefile(source):
        raise ValueError(f"--out {out} is the checkpoint itself; name another file")
    raise ValueError(f"--out {out} exists already; remove it, or name another file")


def class_names(args: argparse.Namespace) -> Sequence[str]:
    """Those of --labels, else of a source of this project whose classifier is kept; () if none."""
    from slowfast.weights import read_header

    if args.labels:
        return args.labels.read_text(encoding="utf-8").splitlines()
    try:
        return () if args.new_head else read_header(args.source).labels
    except ValueError:  # of another project
        return ()


def save_for_pyslowfast(model: nn.Module, cfg: CfgNode, path: Path) -> None:
    """A .pyth without epoch and optimiser, so that fine-tuning from it starts at epoch 0."""
    from slowfast.weights.torch_file import write_torch

    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_torch({"model_state": state, "cfg": cfg.dump()}, path)


def list_formats() -> None:
    from slowfast.weights import FORMATS

    for name in FORMATS.names:
        family = FORMATS.get(name)
        print(f"{name:12} {family.contents}; MODEL.MODEL_NAME {family.models}")


def run(args: argparse.Namespace) -> int:
    if args.list:
        list_formats()
    else:
        convert(args)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
