#!/usr/bin/env python3
"""Get a data set ready.

    python tools/data.py init DIR                 lists and a configuration from folders of classes
    python tools/data.py lists KIND ...           lists from a published data set's own files
    python tools/data.py check CFG [KEY VALUE]    open and decode every video, in parallel
    python tools/data.py pack CFG --out DIR       smaller copies that decode fast
    python tools/data.py show CFG [KEY VALUE]     a picture of what the network sees

DATASET.md has an example for each published data set.  `check` and `pack` leave exit code 1 where
something is wrong with a video.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.command_line import exit_code
from slowfast.config import CfgNode, load_cfg

if TYPE_CHECKING:
    from torch import Tensor

    from slowfast.datasets import Batch
    from slowfast.datasets.transforms import Normalize


def init(args: argparse.Namespace) -> int:
    from slowfast.datasets.prepare import init_folder

    made = init_folder(args.folder, args.val_share, args.seed)
    for name, count in made.train.items():
        print(f"{name}: {count} videos to train, {made.val.get(name, 0)} to validate")
    print(f"\nwrote {made.config} and the lists beside it; next:")
    config = shlex.quote(str(made.config))
    print(f"    python tools/data.py check {config}")
    print(f"    python tools/run_net.py --cfg {config}")
    return 0


def lists(args: argparse.Namespace) -> int:
    from slowfast.datasets.lists import class_names
    from slowfast.datasets.prepare import convert_lists

    videos = args.videos or args.annotations
    for path, listed, found in convert_lists(
        args.kind, args.annotations, videos, args.out, args.only_found
    ):
        print(f"{path}: {found} of {listed} videos are there ({100 * found / listed:.1f} %)")
    classes = len(class_names(args.out))
    print(
        f"\nto train on them:\n    TRAIN.DATASET {args.kind} TEST.DATASET {args.kind} "
        f"MODEL.NUM_CLASSES {classes} "
        f"{shlex.join(['DATA.PATH_TO_DATA_DIR', str(args.out), 'DATA.PATH_PREFIX', str(videos)])}"
    )
    return 0


def check(args: argparse.Namespace) -> int:
    cfg = load_cfg(args.cfg, args.overrides)
    from slowfast.datasets.loader import build_opener, manifest_path
    from slowfast.datasets.prepare import check_videos, read_splits, summary

    splits = read_splits(cfg)
    manifest = args.out or manifest_path(cfg)
    if manifest is None:
        raise ValueError("DATA.MANIFEST is empty; say with --out where to write what is found")
    opener = partial(build_opener(cfg), short_side=0)
    probes = check_videos(splits, opener, manifest, not args.quick, args.workers)
    findings = summary(splits, probes, cfg.MODEL.NUM_CLASSES)
    print("\n".join(findings.notes))
    if findings.troubles:
        print("\nto mend:\n" + "\n".join(findings.troubles))
    print(f"\nwrote {manifest}")
    return 1 if findings.troubles else 0


def pack(args: argparse.Namespace) -> int:
    cfg = load_cfg(args.cfg, args.overrides)
    from slowfast.datasets.lists import class_names
    from slowfast.datasets.loader import build_opener
    from slowfast.datasets.prepare import Packing, pack_videos, read_splits

    packing = Packing(args.short_side, args.gop, args.crf)
    opener = partial(build_opener(cfg), short_side=args.short_side)
    classes = class_names(cfg.DATA.PATH_TO_DATA_DIR)
    done = pack_videos(read_splits(cfg), opener, packing, args.out, args.workers, classes)
    before, after = sum(p.before for p in done) / 1e6, sum(p.after for p in done) / 1e6
    failed = [packed for packed in done if packed.error]
    good = len(done) - len(failed)
    print(f"{good} of {len(done)} videos, {before:,.1f} MB became {after:,.1f} MB")
    for packed in failed:
        print(f"  not packed: {packed.error}")
    words = ["DATA.PATH_TO_DATA_DIR", str(args.out), "DATA.PATH_PREFIX", ""]
    print(f"\nto train on them:\n    {shlex.join(words)}")
    return 1 if failed else 0


def show(args: argparse.Namespace) -> int:
    cfg = load_cfg(args.cfg, args.overrides)
    from slowfast.datasets.lists import class_names
    from slowfast.report.sheet import Row, save_sheet

    batch, normalize = first_batch(cfg, args.split, args.videos, args.epoch)
    names = class_names(cfg.DATA.PATH_TO_DATA_DIR)
    rows = []
    for i in range(len(batch)):
        views = {clip.shape[2]: clip[i * batch.num_views] for clip in batch.clips}
        clips = {t: normalize.pixels(clip).numpy() for t, clip in views.items()}
        rows.append(Row(label_text(batch.labels[i], names), batch.paths[i], clips))
    counts = ", ".join(str(clip.shape[2]) for clip in batch.clips)
    save_sheet(
        args.out, f"{args.cfg}: what the network sees in {args.split} at {counts} frames", rows
    )
    for failure in batch.failures:
        print(f"not shown: {failure.error}")
    print(f"wrote {args.out}")
    return 0


def first_batch(cfg: CfgNode, split: str, videos: int, epoch: int) -> tuple[Batch, Normalize]:
    """The first `videos` of an epoch as the network gets them, and what normalised their pixels.

    Raises ValueError if that is less than one, or none of them could be read.
    """
    from slowfast.datasets import build_loader
    from slowfast.datasets.mixing import build_mixing

    if videos < 1:  # an epoch of empty batches would have no end
        raise ValueError(f"--videos {videos} must be 1 or more")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA_LOADER.NUM_WORKERS = 0
    for part in (cfg.TRAIN, cfg.TEST):
        part.BATCH_SIZE = min(videos, part.BATCH_SIZE)
    loader = build_loader(cfg, split)
    loader.set_epoch(epoch)
    batch = next(iter(loader))
    if not len(batch):
        raise ValueError(f"none of the first videos can be read; first: {batch.failures[0].error}")
    mixing = build_mixing(cfg) if split == "train" else None
    return (mixing(batch, epoch, 0) if mixing else batch), loader.dataset.normalize


def label_text(label: Tensor, names: Sequence[str]) -> str:
    """The class of a video, or its classes, with their weights if these are not all 1."""
    weights = {int(label): 1.0} if label.ndim == 0 else dict(enumerate(label.tolist()))
    best = [k for k in sorted(weights, key=lambda k: -weights[k]) if weights[k] > 0.05]
    words = [names[k] if k < len(names) else f"class {k}" for k in best]
    if all(weights[k] == 1 for k in best):
        return ", ".join(words) or "no class"
    return " + ".join(f"{weights[k]:.2f} {word}" for k, word in zip(best, words, strict=True))


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = partial(_add_command, commands)

    sub = add(init, "folders of classes to lists and a configuration")
    sub.add_argument("folder", type=Path, metavar="DIR", help="CLASS/*.mp4, or train/ and val/")
    sub.add_argument("--val-share", type=float, default=0.2, help="of each class; 0.2")
    sub.add_argument("--seed", type=int, default=0, help="of the drawing; 0")

    sub = add(lists, "a published data set's own files to lists")
    sub.add_argument(
        "kind", metavar="KIND", help="like kinetics400, ssv2, ucf101_1; see DATASET.md"
    )
    sub.add_argument("--annotations", type=Path, required=True, help="folder of the files")
    sub.add_argument("--videos", type=Path, help="folder of the videos; else the same")
    sub.add_argument("--out", type=Path, required=True, help="folder of the lists")
    sub.add_argument("--only-found", action="store_true", help="leave out missing videos")

    sub = _with_cfg(add(check, "open and decode every video"))
    sub.add_argument("--quick", action="store_true", help="decode three frames of each")
    sub.add_argument("--out", type=Path, help="manifest; else DATA.MANIFEST beside the lists")

    sub = _with_cfg(add(pack, "smaller copies that decode fast"))
    sub.add_argument("--out", type=Path, required=True, help="folder of the copies")
    sub.add_argument("--short-side", type=int, default=256, help="in pixels; 256")
    sub.add_argument("--gop", type=int, default=12, help="frames from key frame to key frame; 12")
    sub.add_argument("--crf", type=int, default=20, help="quality, less is better; 20")

    sub = _with_cfg(add(show, "a picture of what the network sees"))
    sub.add_argument("--out", type=Path, default=Path("sheet.png"), help="PNG; sheet.png")
    sub.add_argument(
        "--split", choices=("train", "val", "test"), default="train", help="of the data; train"
    )
    sub.add_argument("--videos", type=int, default=4, help="at most, of the first batch; 4")
    sub.add_argument("--epoch", type=int, default=0, help="whose random numbers to show; 0")
    args, rest = parser.parse_known_args(argv)  # overrides may also stand behind options
    if rest and ("overrides" not in args or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.overrides += rest
    return args


def _add_command(commands, function, text: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(function.__name__, help=text, description=text)
    sub.set_defaults(function=function)
    return sub


def _with_cfg(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("cfg", metavar="CFG", help="YAML file")
    sub.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="of the configuration")
    sub.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; one per core")
    return sub


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    args = parse_args(argv)
    return exit_code(args.function, args)


if __name__ == "__main__":
    sys.exit(main())
