"""One configuration from start to end."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.config import parse_args
from slowfast.engine.logs import setup_logging
from slowfast.engine.test import test
from slowfast.engine.train import train


def run(cfg: CfgNode) -> dict[str, Any] | None:
    """Train and test as `cfg` says; the test's record, or None if TEST.ENABLE is off.

    OUTPUT_DIR/config.yaml keeps the configuration of the training; a later test leaves it alone.
    """
    folder = Path(cfg.OUTPUT_DIR)
    setup_logging(folder)
    kept = folder / "config.yaml"
    if cfg.TRAIN.ENABLE or not kept.exists():
        kept.write_text(cfg.dump())
    if cfg.TRAIN.ENABLE:
        train(cfg)
    return test(cfg) if cfg.TEST.ENABLE else None


def main(argv: Sequence[str] | None = None) -> None:
    """The command line of a run; what the user can mend ends in one sentence and exit code 1."""
    try:
        for cfg in parse_args(sys.argv[1:] if argv is None else argv, "Train and test a network."):
            run(cfg)
    except (ValueError, FloatingPointError, OSError) as error:
        sys.exit(f"error: {error}")
