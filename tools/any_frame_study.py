#!/usr/bin/env python3
"""Test a network of two rates between them, by every rule of FFN.ANY_FRAME.

    python tools/any_frame_study.py --seeds 0 1 2

The data are those of tools/study.py.  Networks that are finished already are kept.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from slowfast.config import load_cfg
from slowfast.datasets.motion import write_motion
from slowfast.engine.any_frame_study import AnyFrameStudy
from slowfast.report.publish import replace_block

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cfg", default=str(ROOT / "configs/Motion/R2PLUS1D_FFN_4_16.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--separate",
        type=int,
        nargs="*",
        default=[2, 8],
        help="frame counts that a plain network each is trained for",
    )
    parser.add_argument("--data", default="data/motion", help="folder of the generated videos")
    parser.add_argument("--runs", default="runs/any_frame", help="folder of the networks")
    parser.add_argument("--command", default=shlex.join(["python", *sys.argv]), help="to report")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="networks at a time")
    parser.add_argument(
        "--publish", nargs=2, metavar=("README", "MARKER"), help="put the results into a README"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="of the configuration")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    data = write_motion(args.data)
    cfg = load_cfg(args.cfg, ["DATA.PATH_TO_DATA_DIR", str(data), *args.overrides])
    study = AnyFrameStudy(cfg, args.seeds, args.separate, Path(args.runs))
    study.run(args.processes)
    results = study.markdown(args.command)
    if args.publish:
        readme, marker = args.publish
        replace_block(Path(readme), marker, results)
    print(results)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")
