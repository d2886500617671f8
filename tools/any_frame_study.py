#!/usr/bin/env python3
"""Test a network of two rates between them, by every rule of FFN.ANY_FRAME.

    python tools/any_frame_study.py --seeds 0 1 2

The data are those of tools/study.py.  Networks that are finished already are kept.
"""

import argparse
import sys
from pathlib import Path

from slowfast.command_line import exit_code, study_parser

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    cfg = ROOT / "configs/Motion/R2PLUS1D_FFN_4_16.yaml"
    parser = study_parser(__doc__, runs="runs/any_frame", cfg=cfg)
    parser.add_argument(
        "--separate",
        type=int,
        nargs="*",
        default=[2, 8],
        help="frame counts that a plain network each is trained for",
    )
    return parser.parse_args()


def run(args: argparse.Namespace) -> int:
    from slowfast.config import load_cfg
    from slowfast.datasets.motion import write_motion
    from slowfast.engine.studies.any_frame import AnyFrameStudy
    from slowfast.report.publish import replace_block

    data = write_motion(args.data)
    cfg = load_cfg(args.cfg, ["DATA.PATH_TO_DATA_DIR", str(data), *args.overrides])
    study = AnyFrameStudy(cfg, args.seeds, args.separate, Path(args.runs))
    study.run(args.processes)
    results = study.markdown(args.command)
    if args.publish:
        readme, marker = args.publish
        replace_block(Path(readme), marker, results)
    print(results)
    return 0


def main() -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args())


if __name__ == "__main__":
    sys.exit(main())
