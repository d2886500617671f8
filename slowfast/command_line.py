"""What the scripts in `tools/` share.  Nothing heavy is loaded before they run."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slowfast.inference import Recognizer


def exit_code(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """What `run(args)` returns; what the user can mend ends in one sentence and exit code 2."""
    try:
        return run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def load_checkpoint(args: argparse.Namespace) -> Recognizer:
    """The network of `args.checkpoint` on `args.device`, by default a GPU if there is one.

    It runs with as many CPU threads as `args.threads` says, 0 for PyTorch's own number.
    """
    import torch

    import slowfast

    if getattr(args, "threads", 0):
        torch.set_num_threads(args.threads)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return slowfast.load(args.checkpoint, device)


def study_parser(
    description: str, *, runs: str, out: str = "", cfg: Path | None = None
) -> argparse.ArgumentParser:
    """A parser with the options of a study over seeds on motion data.

    `runs` and `out` are the usual folders of its networks and its report, `cfg` its usual
    configuration; a study without a report, or of several configurations, leaves its one out.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    if cfg is not None:
        add("--cfg", default=str(cfg), help="YAML of the flexible network")
    add("--seeds", type=int, nargs="+", default=[0], help="a study each; 0")
    add("--data", default="data/motion", help="folder of the generated videos")
    add("--runs", default=runs, help="folder of the networks")
    if out:
        add("--out", default=out, help="folder of the report")
    add("--command", default=shlex.join(["python", *sys.argv]), help="to report")
    add("--processes", type=int, default=os.cpu_count(), help="networks at a time")
    into = ("README", "MARKER")
    add("--publish", nargs=2, metavar=into, help="put the results into a README")
    add("overrides", nargs="*", metavar="KEY VALUE", help="of the configuration")
    return parser
