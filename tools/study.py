#!/usr/bin/env python3
"""Generate the motion data, train one network per frame count and one flexible, test, report.

    python tools/study.py                      the demo: one seed, a few minutes on two cores
    python tools/study.py --seeds 0 1 2        the study: mean and spread over seeds

Networks that are finished already are kept, so an interrupted study goes on where it stopped.
"""

import argparse
import os
import sys
from pathlib import Path

from slowfast.command_line import exit_code, study_parser

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    cfg = ROOT / "configs/Motion/R2PLUS1D_FFN.yaml"
    parser = study_parser(__doc__, runs="runs/study", out="results", cfg=cfg)
    # One more than cores, so that none idles at the end.
    parser.set_defaults(processes=os.cpu_count() + 1)
    return parser.parse_args()


def run(args: argparse.Namespace) -> int:
    from slowfast.config import load_cfg
    from slowfast.datasets.motion import write_motion
    from slowfast.engine.studies.frame_counts import build_report, members
    from slowfast.engine.studies.members import run_members
    from slowfast.report import publish, summary_lines, write_report

    data = write_motion(args.data)
    cfg = load_cfg(args.cfg, ["DATA.PATH_TO_DATA_DIR", str(data), *args.overrides])
    by_seed = {seed: members(cfg, seed, Path(args.runs) / f"seed_{seed}") for seed in args.seeds}
    run_members([member for one in by_seed.values() for member in one], args.processes)
    report = build_report(by_seed, "One network, any frame count", [args.command])
    paths = write_report(report, Path(args.out))
    if args.publish:
        readme, marker = args.publish
        publish(report, Path(readme), marker, Path(args.out), ROOT / "projects/ffn/figures")
    print("\n".join(summary_lines(report)))
    print(f"report: {paths[0]}")
    return 0


def main() -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args())


if __name__ == "__main__":
    sys.exit(main())
