#!/usr/bin/env python3
"""Measure what the rates of a network take here, and keep it in its file.

    python tools/measure.py best.safetensors
    python tools/measure.py best.safetensors --check

Then `predict(video, budget_ms=...)` and `tools/predict.py --max-ms` know at once what fits.  The
table holds on this processor, with as many threads and the same PyTorch; the file keeps one for
each such place, and is replaced as a whole.  --check predicts with budgets from the stored table
and tells how long that took; exit code 1 if a budget was exceeded.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from slowfast.command_line import add_precision, exit_code, load_checkpoint


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="a file of this project, like best.safetensors")
    parser.add_argument("--device", default="", help="cuda if there is one, else cpu")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; PyTorch's own number")
    add_precision(parser)
    parser.add_argument("--seconds", type=float, default=60, help="to measure for, about; 60")
    parser.add_argument("--check", action="store_true", help="predict within the stored table")
    parser.add_argument(
        "--budgets",
        type=float,
        nargs="+",
        metavar="MS",
        help="to check; the time of each rate, and one that nothing fits",
    )
    parser.add_argument(
        "--videos", nargs="+", metavar="VIDEOS", help="to predict; files, folders, lists; noise"
    )
    parser.add_argument("--clips", type=int, default=50, help="to predict for each budget; 50")
    args = parser.parse_args(argv)
    if args.clips < 1:
        parser.error("--clips must be 1 or more")
    if not 0 < args.seconds < float("inf"):
        parser.error("--seconds must be a number above 0")
    return args


def run(args: argparse.Namespace) -> int:
    from slowfast.weights import store_costs

    model = load_checkpoint(args)
    if args.check:
        return check(model, args)
    if not os.access(args.checkpoint, os.W_OK):
        raise ValueError(f"{args.checkpoint} cannot be written to; measure a copy of it")
    costs = model.measure(args.seconds)
    store_costs(args.checkpoint, [table.to_dict() for table in model.tables])
    show(costs)
    print(f"kept in {args.checkpoint}")
    return 0


def show(costs) -> None:
    """The table, for people."""
    print(f"{'rate':>8} {'GFLOPs':>9} {'ms (95 %)':>10}")
    for rate, cost in costs.rows.items():
        print(f"{rate!s:>8} {cost.gflops:9.4g} {cost.ms:10.4g}")
    print(f"on {costs.place}")


def check(model, args: argparse.Namespace) -> int:
    """Predicts within budgets and prints how long it took; 1 if a budget was exceeded."""
    from itertools import cycle, islice

    from slowfast.inference.budget import check_budget

    costs = model.costs
    if costs is None:
        raise ValueError(
            f"{args.checkpoint} has no table of this place; measure it first, without --check"
        )
    show(costs)
    times = sorted(cost.ms for cost in costs.rows.values())
    budgets = args.budgets or [0.9 * times[0], *times]
    print(f"\n{'budget':>8} {'rate':>8} {'median':>8} {'95 %':>8}   ms of {args.clips} clips")
    exceeded = 0
    for budget in budgets:
        kept = check_budget(model.predict, budget, islice(cycle(videos_of(args)), args.clips))
        exceeded += not kept.holds
        if kept.rate is None:
            print(f"{budget:8.4g} {'-':>8} {kept.said}")
            continue
        verdict = "kept" if kept.holds else "EXCEEDED"
        print(f"{budget:8.4g} {kept.rate!s:>8} {kept.median:8.4g} {kept.p95:8.4g}   {verdict}")
    return 1 if exceeded else 0


def videos_of(args: argparse.Namespace) -> list:
    """Those that are asked for, else five of noise."""
    import torch

    from slowfast.inference.inputs import find_inputs

    if args.videos:
        return [found.path for found in find_inputs(args.videos)]
    generator = torch.Generator().manual_seed(0)
    shape = (32, 120, 160, 3)
    return [torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for _ in range(5)]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
