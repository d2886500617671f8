#!/usr/bin/env python3
"""Train a network of low resolution alone and under its teacher (ResKD) on motion data, and test.

    python tools/reskd_study.py --seeds 0 1 2

Each seed has a teacher and two students, with one schedule for all.  They are tested with their
last weights on videos that nothing was trained or tuned on.  What is finished is kept.
"""

import argparse
import sys
from pathlib import Path

from slowfast.command_line import exit_code, study_parser

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "projects/res_kd/configs/Motion"


def parse_args() -> argparse.Namespace:
    parser = study_parser(__doc__, runs="runs/reskd", out="results/reskd")
    add = parser.add_argument
    add("--teacher", default=str(CONFIGS / "R2PLUS1D.yaml"), help="its YAML")
    add("--alone", default=str(CONFIGS / "R2PLUS1D_12.yaml"), help="a student's")
    add("--distilled", default=str(CONFIGS / "RESKD_R2PLUS1D.yaml"), help="that with a teacher's")
    add("--test-data", default="data/motion_held_out", help="folder of the videos to test on")
    return parser.parse_args()


def run(args: argparse.Namespace) -> int:
    from slowfast.config import load_cfg
    from slowfast.datasets.motion import write_held_out, write_motion
    from slowfast.engine.studies.res_kd import ResolutionStudy
    from slowfast.report.document import claim_line
    from slowfast.report.publish import publish_document

    data = write_held_out(args.test_data, write_motion(args.data))
    keys = ["DATA.PATH_TO_DATA_DIR", str(data), *args.overrides]
    cfgs = (load_cfg(path, keys) for path in (args.teacher, args.alone, args.distilled))
    study = ResolutionStudy(*cfgs, args.seeds, Path(args.runs))
    study.run(args.processes)
    report = study.report([args.command])
    paths = report.write(Path(args.out))
    if args.publish:
        readme, marker = args.publish
        publish_document(report.document(paths[-1]), Path(readme), marker)
    print(report.summary())
    for claim in report.claims():
        print(claim_line(claim))
    print(f"report: {paths[0]}")
    return 0


def main() -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args())


if __name__ == "__main__":
    sys.exit(main())
