#!/usr/bin/env python3
"""Test a network of two rates between them, by every rule of FFN.ANY_FRAME.

    python tools/any_frame_study.py --seeds 0 1 2

The data are those of tools/study.py.  Networks that are finished already are kept.
"""

import argparse
import sys
from pathlib import Path

from slowfast.command_line import study_parser

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


def main() -> None:
    args = parse_args()
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


if __name__ == "__main__":
    try:
        main()
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")
