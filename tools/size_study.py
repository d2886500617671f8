#!/usr/bin/env python3
"""Train one network for all pairs of frame count and size, and one network per pair; compare.

    python tools/size_study.py

The data are those of tools/study.py.  Networks that are finished already are kept.
"""

import argparse
import sys
from pathlib import Path

from slowfast.command_line import exit_code, study_parser

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    cfg = ROOT / "configs/Motion/R2PLUS1D_FFN_SIZES.yaml"
    return study_parser(__doc__, runs="runs/sizes", out="results/sizes", cfg=cfg).parse_args()


def run(args: argparse.Namespace) -> int:
    from slowfast.config import load_cfg
    from slowfast.datasets.motion import write_motion
    from slowfast.engine.studies.sizes import SizeStudy
    from slowfast.report.document import claim_line
    from slowfast.report.publish import publish_document

    data = write_motion(args.data)
    cfg = load_cfg(args.cfg, ["DATA.PATH_TO_DATA_DIR", str(data), *args.overrides])
    study = SizeStudy(cfg, args.seeds, Path(args.runs))
    study.run(args.processes)
    out = Path(args.out)
    document = study.document(out / "figures", args.command)
    page, _ = document.write(out, "sizes")
    if args.publish:
        readme, marker = args.publish
        publish_document(document, Path(readme), marker)
    print(document.summary, *map(claim_line, document.claims), f"report: {page}", sep="\n")
    return 0


def main() -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args())


if __name__ == "__main__":
    sys.exit(main())
