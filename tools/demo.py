#!/usr/bin/env python3
"""A web page: drop a video and see what a network makes of it at two frame counts.

    python tools/demo.py                      the network of `make demo`
    python tools/demo.py best.safetensors     any other

It is served to this machine alone, on http://127.0.0.1:7860.  Needs Gradio (pip install
'slowfast-ffn[demo]').
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.command_line import exit_code

ROOT = Path(__file__).resolve().parents[1]
TRAINED = "runs/study/*/ffn/checkpoints/best.safetensors"  # what `make demo` writes
MOTION = "data/motion"
MOST_EXAMPLES = 16


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", help="newest of `make demo` without one")
    parser.add_argument(
        "--results",
        help="run folder or test.json whose accuracy is shown; "
        "the run of the checkpoint by default",
    )
    parser.add_argument(
        "--examples",
        help="folder with a list val.csv, of videos to click on; "
        "data/motion for networks of these videos",
    )
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 serves it to the network")
    parser.add_argument("--port", type=int, default=7860, help="of the address")
    parser.add_argument("--max-mb", type=int, default=64, help="largest upload")
    parser.add_argument("--max-seconds", type=float, default=600, help="longest video")
    return parser.parse_args(argv)


def newest_checkpoint(*folders: Path) -> Path:
    """What `make demo` wrote last in one of `folders`; ValueError if it has not run."""
    found = [path for folder in folders for path in folder.glob(TRAINED)]
    if not found:
        raise ValueError(
            f"no {TRAINED} in {folders[0]}; train it with: make demo, or name a best.safetensors"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def example_videos(folder: Path, num_classes: int) -> dict[str, Path]:
    """The first validation video of each class in `folder`, by the name of the class."""
    from slowfast.datasets.lists import class_names, find_list, read_list

    records = read_list(find_list(folder, "val"), num_classes, split="val")
    names = class_names(folder) or [f"class {i}" for i in range(num_classes)]
    found: dict[str, Path] = {}
    for index in range(len(records)):
        found.setdefault(names[records.label(index)], Path(records.path(index)))
    return dict(list(found.items())[:MOST_EXAMPLES])


def run(args: argparse.Namespace) -> int:
    here = (Path.cwd(), ROOT)
    checkpoint = Path(args.checkpoint) if args.checkpoint else newest_checkpoint(*here)
    import slowfast
    from slowfast.inference.page import app
    from slowfast.inference.page.comparison import Comparison, Limits
    from slowfast.inference.page.results import read_results, results_beside

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the uploads are removed
    with app.private_uploads():
        app.import_gradio()  # what is missing is said at once
        recognizer = slowfast.load(checkpoint)
        classes = recognizer.cfg.MODEL.NUM_CLASSES
        results = args.results or results_beside(checkpoint)
        accuracy = read_results(results, classes) if results else None
        folders = [Path(args.examples)] if args.examples else []
        if not folders and recognizer.cfg.TRAIN.DATASET == "motion":
            folders = [folder / MOTION for folder in here if (folder / MOTION).is_dir()]
        examples = example_videos(folders[0], classes) if folders else {}
        limits = Limits(megabytes=args.max_mb, seconds=args.max_seconds)
        built = app.build_page(Comparison(recognizer, accuracy, limits), examples)
        app.serve(built, limits, args.host, args.port)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
