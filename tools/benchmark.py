#!/usr/bin/env python3
"""Time and memory, each against a straightforward way in the same run.

    python tools/benchmark.py step         a training step in four ways that take turns
    python tools/benchmark.py memory       its peak above the level before, each in a new process
    python tools/benchmark.py inference    a frame-flexible network and its specialised one
    python tools/benchmark.py resolution   decoding, pixels and network of a student and its teacher
    python tools/benchmark.py exits        videos that leave early, in a batch and one by one
    python tools/benchmark.py layers       layers in all their forms, forward and backward
    python tools/benchmark.py data         reading generated videos, and memory over 2,000 of them

The ways to train: `high` trains the highest rate alone; `per_rate` is FFN as this project runs it;
`joint` is FFN with one backward pass for all rates; `baseline` is `joint` as the originals compute
it: conv3d everywhere, each gain a depthwise convolution with a residual, attention with the matrix
of its scores.  All take the training loop's own step.  CPU seconds are those of all threads; on
CUDA the GPU's clock counts.
`step` and `memory` compare settings, too, at the size of a real training:

    python tools/benchmark.py step --device cuda --batch 8 --size 224 --json \\
        --precision fp32 bf16 --compile off on --channels-last off on --ways high per_rate joint

Every combination is a network of its own; `over_first` is the ratio to the first one.
`memory` of a YAML with a teacher measures the student's step, the teacher's inference and both.
`exits` has of random videos half leave at every exit, in turns with the same videos alone.
`layers` marks the form that the networks take as "ours" and the fastest one of the run.
`data` says of every row whether its goal is met.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import chain, groupby, product
from pathlib import Path
from typing import Any

from slowfast.command_line import exit_code
from slowfast.config import CfgNode, load_cfg, trained_sizes

ROOT = Path(__file__).resolve().parents[1]
FFN = ROOT / "projects/ffn/configs"
TRAINED = ("SSv1/SLOWFAST_16x8_R50_FFN.yaml", "SSv1/UNIFORMER_S16_FFN.yaml")
TESTED = (*TRAINED, "SSv1/TSM_R50_FFN.yaml", "Kinetics/X3D_M_FFN.yaml")
EXITS = (
    ROOT / "configs/Motion/R2PLUS1D_FFN.yaml",
    ROOT / "projects/frame_exit/configs/Motion/FRAMEEXIT_R2PLUS1D_GATES.yaml",
)
STUDENT = ROOT / "projects/res_kd/configs/ActivityNet/RESKD_R50_R50.yaml"
DEFAULTS = {  # configurations, videos, pixels
    "step": (TRAINED, 2, 112),
    "memory": ((*TRAINED, STUDENT), 2, 112),
    "inference": (TESTED, 1, 224),
    "resolution": ((STUDENT,), None, None),
    "exits": (EXITS, 32, 32),
    "layers": ((), 2, None),
    "data": ((), None, None),
}
# Those of slowfast.engine.benchmark, known here without loading torch; a test compares them.
WAYS = ("high", "per_rate", "joint", "baseline")
LAYERS = ("shift", "gain", "attention", "images", "temporal", "spatial", "depthwise", "dense")


def measure(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of the table that `args.what` names."""
    from slowfast.engine import benchmark

    if args.what == "layers":
        for name in args.layers:
            for case in benchmark.LAYERS[name](args.device):
                yield from benchmark.time_layer(case, args.repeats, args.device)
    if args.what == "data":
        yield from benchmark.measure_data(args.repeats, args.videos)
    for path in args.cfg:
        rows = measure_network(args, path)
        yield from ({"network": Path(path).stem, **row} for row in rows)


def measure_network(args: argparse.Namespace, path: str | Path) -> Iterable[dict[str, Any]]:
    """The rows of one configuration."""
    from slowfast.engine import benchmark

    settings = [benchmark.Setting(*setting) for setting in args.settings]
    if args.what == "resolution":
        return benchmark.time_resolution(load_cfg(path), args.repeats, args.device)
    cfg = config(path, args.size, flexible=args.what != "exits")
    if args.what == "step":
        return benchmark.time_steps(cfg, args.batch, args.repeats, args.device, args.ways, settings)
    if args.what == "memory":
        size = (cfg, args.batch, args.threads, args.device)
        if cfg.OBJECTIVE.NAME == "distill":
            return benchmark.distillation_peaks(*size)
        return benchmark.memory_peaks(*size, args.ways, settings)
    time = benchmark.time_exits if args.what == "exits" else benchmark.time_inference
    return time(cfg, args.batch, args.repeats, args.device)


def config(path: str | Path, size: int, flexible: bool = True) -> CfgNode:
    """A configuration at another resolution, in 32 bits, without checkpointing.

    A student, and each of FFN.SIZES, sees as large a share of it as before.  Raises ValueError if
    it has to be, and is not, frame-flexible; one with a teacher need not be.
    """
    sizes = {"TRAIN_CROP_SIZE": size, "TEST_CROP_SIZE": size, "TRAIN_JITTER_SCALES": [size, size]}
    changes = {f"DATA.{key}": value for key, value in sizes.items()}
    changes |= {"TRAIN.MIXED_PRECISION": False, "MODEL.ACT_CHECKPOINT": False}
    found = load_cfg(path)
    crop = found.DATA.TRAIN_CROP_SIZE
    if part := found.DISTILL.STUDENT_SIZE:
        changes["DISTILL.STUDENT_SIZE"] = size * part // crop
    if parts := trained_sizes(found):
        changes |= {"FFN.SIZES": [size * part // crop for part in parts], "TEST.SIZES": []}
    cfg = load_cfg(path, list(chain.from_iterable(changes.items())))
    if flexible and not cfg.FFN.ENABLE and cfg.OBJECTIVE.NAME != "distill":
        raise ValueError(f"{path} has no FFN.ENABLE: True; give a YAML of projects/ffn/configs")
    return cfg


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """A table for each run of rows with the same keys."""
    return "\n\n".join(table(list(alike)) for _, alike in groupby(rows, key=list))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows under their keys, in aligned columns."""
    lines = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    columns = [
        _aligned(column, [row[key] for row in rows])
        for column, key in zip(zip(*lines, strict=True), rows[0], strict=True)
    ]
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def _aligned(cells: Sequence[str], values: Sequence[Any]) -> list[str]:
    width = max(map(len, cells))
    are_text = all(isinstance(value, str) for value in values)
    return [cell.ljust(width) if are_text else cell.rjust(width) for cell in cells]


def _cell(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
    return str(value)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=tuple(DEFAULTS), help="the measurement, see above")
    parser.add_argument("--cfg", nargs="+", metavar="FILE", help="frame-flexible YAMLs")
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=LAYERS, help="all")
    parser.add_argument("--batch", type=int, help="videos per step; 2, inference 1, exits 32")
    parser.add_argument("--size", type=int, help="pixels of a side; 112, inference 224, exits 32")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU computation")
    parser.add_argument("--videos", type=int, default=2000, help="over which memory is watched")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns, for the median")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="to train")
    formats, switch = ("fp32", "bf16", "fp16"), ("off", "on")
    parser.add_argument("--precision", nargs="+", choices=formats, default=["fp32"], help="fp32")
    parser.add_argument("--compile", nargs="+", choices=switch, default=["off"], help="off")
    parser.add_argument("--channels-last", nargs="+", choices=switch, default=["off"], help="off")
    parser.add_argument(
        "--json",
        nargs="?",
        const="",
        metavar="FILE",
        help="also write the rows to this file; without a name to one in benchmarks/ with the date",
    )
    args = parser.parse_args(argv)
    args.settings = list(product(args.precision, args.compile, args.channels_last))
    cfg, batch, size = DEFAULTS[args.what]
    args.cfg = args.cfg or [FFN / path for path in cfg]
    args.batch, args.size = args.batch or batch, args.size or size
    return args


def run(args: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(args.threads)
    rows = list(measure(args))
    setting = f"batch {args.batch}, {args.size} px, " if args.size else ""
    print(f"{args.what}: {setting}{args.device}, {args.threads} threads")
    print(tables(rows))
    if args.json is not None:
        path = write(rows, args)
        print(f"written to {path}", file=sys.stderr)
    return 0


def write(rows: Sequence[dict[str, Any]], args: argparse.Namespace) -> Path:
    """Keep the rows, and how they came about, in a JSON file; its path."""
    import torch

    from slowfast.engine.selfcheck import versions

    device = versions(torch.device(args.device))
    path = Path(args.json or dated_path(args.what, device))
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"date": date.today().isoformat(), "device": device, "torch": torch.__version__}
    data = about | {"arguments": vars(args), "rows": rows}
    path.write_text(json.dumps(data, default=str, indent=1) + "\n")
    return path


def dated_path(what: str, device: str) -> Path:
    """`benchmarks/2026-01-31_step_nvidia-h100.json`."""
    name = re.sub(r"[^a-z0-9]+", "-", device.partition(" (")[0].lower()).strip("-")
    return ROOT / "benchmarks" / f"{date.today().isoformat()}_{what}_{name}.json"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
