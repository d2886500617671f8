#!/usr/bin/env python3
"""A trained network as files that run without this project.

    python tools/export.py best.safetensors --out exported
    python tools/export.py best.safetensors --out exported --list val.csv --calibrate train.csv
    python tools/export.py best.safetensors --out exported --rates 8 --formats program

Writes, of each trained rate (its private norms chosen, gains and BatchNorm folded into weights):

    model_8.onnx         ONNX, any number of clips           --formats onnx
    model_8.int8.onnx    the same in 8 bits                  --calibrate VIDEOS
    model_8.pt2          a program of torch.export           --formats program
    bundle.zip           all rates and how to feed them      --formats bundle

All are compared with the network as it was trained: size, distance of the logits, time of a batch
(median, forms in turns) and, with --list, accuracy.  tools/run_bundle.py shows how to use a bundle.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.command_line import check_folder, exit_code

FORMATS = ("onnx", "bundle", "program")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkpoint", help="a file of this project, like best.safetensors")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the files go")
    add("--rates", nargs="+", default=[], metavar="RATE", help="like 8 or 8x112; all of them")
    add(
        "--formats",
        nargs="+",
        choices=FORMATS,
        default=["onnx", "bundle"],
        help="files to write, see above",
    )
    add("--calibrate", nargs="+", metavar="VIDEOS", help="files, folders, lists; makes int8, too")
    add("--clips", type=int, default=128, metavar="N", help="to calibrate with, at most; 128")
    add("--small-bundle", action="store_true", help="with the 8-bit networks (--calibrate)")
    add("--list", type=Path, metavar="FILE", help="labelled videos to measure the accuracy on")
    add("--batch", type=int, default=1, metavar="B", help="clips that are timed together; 1")
    add("--repeats", type=int, default=20, metavar="N", help="timed turns, for the median; 20")
    add("--threads", type=int, default=1, metavar="N", help="of the CPU, for all forms; 1")
    add("--overwrite", action="store_true", help="replace files of an earlier export")
    args = parser.parse_args(argv)
    for name in ("clips", "batch", "repeats", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    if args.small_bundle and not args.calibrate:
        parser.error("--small-bundle holds 8-bit networks; add --calibrate VIDEOS")
    return args


def run(args: argparse.Namespace) -> int:
    check_folder("--out", args.out)
    import torch

    from slowfast.inference.export import Plan, choose_rates, export, planned_files, table
    from slowfast.inference.loading import load

    torch.set_num_threads(args.threads)
    recognizer = load(args.checkpoint)
    rates = choose_rates(recognizer, args.rates)
    plan = Plan(
        formats=tuple(args.formats),
        calibrate=calibration(args.calibrate, args.clips) if args.calibrate else (),
        videos=labelled(args.list, recognizer.cfg) if args.list else (),
        small_bundle=args.small_bundle,
        batch=args.batch,
        repeats=args.repeats,
        threads=args.threads,
    )
    names = planned_files(rates, plan)
    if not args.overwrite:
        refuse_existing(args.out, names)
    rows = export(recognizer, rates, args.out, plan, tell)
    print(f"batch {args.batch}, {args.threads} threads, median of {args.repeats} turns")
    print(table(rows))
    for name in names:
        path = args.out / name
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
    return 0


def calibration(sources: Sequence[str], count: int) -> tuple[str, ...]:
    """Paths of `count` videos, evenly from all that `sources` name: lists are often sorted."""
    from slowfast.inference.inputs import find_inputs

    found = [video.path for video in find_inputs(sources)]
    count = min(count, len(found))
    return tuple(found[i * len(found) // count] for i in range(count))


def labelled(path: Path, cfg) -> tuple[tuple[str, int], ...]:
    """(path, class) of the videos in a list."""
    from slowfast.datasets.lists import read_list

    if not path.exists():
        raise ValueError(f"--list {path} does not exist; give a list with `path label` lines")
    separator = cfg.DATA.PATH_LABEL_SEPARATOR
    records = read_list(path, cfg.MODEL.NUM_CLASSES, separator=separator, split="val")
    return tuple((records.path(i), records.label(i)) for i in range(len(records)))


def refuse_existing(folder: Path, names: Sequence[str]) -> None:
    """Raises ValueError rather than write over something."""
    for name in names:
        if (folder / name).exists():
            raise ValueError(f"{folder / name} exists already; add --overwrite, or another --out")


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
