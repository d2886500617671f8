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
    from slowfast.models.flexible import Rate


def exit_code(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """What `run(args)` returns; what the user can mend ends in one sentence and exit code 2.

    Ctrl-C ends it with 130, as shells have it.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files may be no UTF-8
    try:
        return run(args)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def check_folder(option: str, folder: Path) -> None:
    """Raises ValueError unless files can be made in `folder`, which need not be there yet."""
    there = next(filter(os.path.lexists, (folder, *folder.parents)), Path())
    if not there.is_dir():
        wrong = "is a file where a folder is needed"
        raise ValueError(f"{option}: {there} {wrong}; name another place")
    _check_access(option, there, os.W_OK | os.X_OK)


def check_file(option: str, path: Path) -> None:
    """Raises ValueError unless `path` can be written; its folder need not be there yet."""
    if os.path.exists(path):
        _check_access(option, path, os.W_OK)
    else:
        check_folder(option, path.parent)


def _check_access(option: str, path: Path, mode: int) -> None:
    if not os.access(path, mode):
        raise ValueError(f"{option}: {path} cannot be written to; name another place")


def load_checkpoint(args: argparse.Namespace) -> Recognizer:
    """The network of `args.checkpoint` on `args.device`, by default a GPU if there is one.

    It runs with as many CPU threads as `args.threads` says, 0 for PyTorch's own number, and in
    `args.precision`; both as they are where the tool has no such option.
    """
    import torch

    import slowfast

    if getattr(args, "threads", 0) < 0:
        raise ValueError(f"--threads {args.threads} must be 1 or more, or 0 for PyTorch's own")
    if getattr(args, "threads", 0):
        torch.set_num_threads(args.threads)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return slowfast.load(args.checkpoint, device, getattr(args, "precision", "fp32"))


def add_precision(parser: argparse.ArgumentParser) -> None:
    """`--precision` of the tools that predict."""
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        default="fp32",
        help="of the network; 16 bits are about twice as fast where the processor has them",
    )


def rates_asked(model: Recognizer, args: argparse.Namespace) -> list[Rate]:
    """`args.frames`, each once, or the trained counts, at `args.size`; ValueError if below 1."""
    from slowfast.models.flexible import Rate

    if args.size < 0:
        raise ValueError(f"--size {args.size} must be 1 or more")
    counts = args.frames or sorted({rate.num_frames for rate in model.rates})
    if min(counts) < 1:
        raise ValueError(f"--frames {min(counts)} must be 1 or more")
    return [Rate(count, args.size) for count in dict.fromkeys(counts)]


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
