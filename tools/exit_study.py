#!/usr/bin/env python3
"""Train FrameExit and a frame-flexible network on motion data, and test how early videos may leave.

    python tools/exit_study.py

Weights of the flexible network are those of `make demo` if it has run, else it is trained here.
Thresholds are chosen on validation videos and reported on others.  What is finished is kept.
"""

import argparse
import shlex
import sys
from pathlib import Path

from slowfast.command_line import exit_code

ROOT = Path(__file__).resolve().parents[1]
GATES = ROOT / "projects/frame_exit/configs/Motion"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    yamls = {
        "cfg": (ROOT / "configs/Motion/R2PLUS1D_FFN.yaml", "the flexible network"),
        "classifiers": (GATES / "FRAMEEXIT_R2PLUS1D.yaml", "FrameExit's first training"),
        "gates": (GATES / "FRAMEEXIT_R2PLUS1D_GATES.yaml", "FrameExit's second one"),
    }
    for name, (path, what) in yamls.items():
        parser.add_argument(f"--{name}", default=str(path), help=f"YAML of {what}")
    parser.add_argument("--seed", type=int, default=0, help="of all trainings; 0")
    parser.add_argument(
        "--budget", type=float, default=0.45, help="share of the GFLOPs without exits"
    )
    parser.add_argument(
        "--betas", type=float, nargs="*", default=[1e-5, 1e-4, 1e-3], help="for further gates"
    )
    parser.add_argument("--data", default="data/motion", help="folder of the generated videos")
    parser.add_argument("--test-data", default="data/motion_held_out", help="of those to test")
    parser.add_argument("--test-seed", type=int, help="for other videos to test than usual")
    parser.add_argument("--demo", default="runs/study", help="folder of the demo's networks")
    parser.add_argument("--runs", default="runs/exits", help="folder of the networks")
    parser.add_argument("--out", default="results/exits", help="folder of the report")
    parser.add_argument("--command", default=shlex.join(["python", *sys.argv]), help="to report")
    parser.add_argument("--processes", type=int, default=2, help="networks at a time")
    return parser.parse_args()


def run(args: argparse.Namespace) -> int:
    from slowfast.config import load_cfg
    from slowfast.datasets.motion import write_held_out, write_motion
    from slowfast.engine.studies.exits import ExitStudy
    from slowfast.report.exits import exit_claims, exit_summary

    data = write_held_out(args.test_data, write_motion(args.data), seed=args.test_seed)
    keys = ["DATA.PATH_TO_DATA_DIR", str(data)]
    seed = f"seed_{args.seed}"
    study = ExitStudy(
        *(load_cfg(path, keys) for path in (args.cfg, args.classifiers, args.gates)),
        seed=args.seed,
        folder=Path(args.runs) / seed,
        budget=args.budget,
        betas=args.betas,
        trained=Path(args.demo) / seed / "ffn",
    )
    study.run(args.processes)
    paths = study.write(Path(args.out), args.command)
    for record in study.records():
        print(exit_summary(record))
        for claim in exit_claims(record):
            print(f"{'✓' if claim.holds else '✗'} {claim.text}: {claim.value:+.1f} points")
    print(f"report: {paths[0]}")
    return 0


def main() -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args())


if __name__ == "__main__":
    sys.exit(main())
