#!/usr/bin/env python3
"""Why a network says what it says.

    python tools/explain.py cam CHECKPOINT VIDEOS       what speaks for a class (Grad-CAM): a PNG
                                                        per video, with --video an mp4 too
    python tools/explain.py frames CHECKPOINT VIDEOS    which frames each rate saw: a PNG
    python tools/explain.py changes PREDICTIONS         which videos change their prediction as
                                                        frames grow, from a test's predictions.csv

VIDEOS are files, folders and lists (a path per line).  Exit code 1 if a video could not be read;
the others are done all the same.  Without a command, cam.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from slowfast.command_line import check_folder, exit_code, load_checkpoint, rates_asked


def cam(args: argparse.Namespace) -> int:
    from slowfast.inference.explain import Explainer
    from slowfast.inference.explain.heat_video import save_heat_video
    from slowfast.inference.explain.seen import Views, class_number, look
    from slowfast.inference.explain.timeline import save_strips

    model, rates = load(args)
    explainer, views = Explainer(model.net, args.layer), Views(model.cfg)
    target = class_number(args.target, model.labels) if args.target else None

    def explain(path: str, stem: Path) -> list[Path]:
        seen = look(model, path, rates, explainer, target)
        files = [stem.with_name(stem.name + ".cam.png")]
        save_strips(files[0], path, seen, views, args.layer)
        if args.video:
            files.append(stem.with_name(stem.name + ".cam.mp4"))
            save_heat_video(files[1], path, seen, views)
        hint_at_layer(model, seen[-1], args.layer)
        return files

    return for_each(args, explain)


def frames(args: argparse.Namespace) -> int:
    from slowfast.inference.explain.seen import Views, look
    from slowfast.inference.explain.timeline import save_timeline

    model, rates = load(args)
    views = Views(model.cfg)

    def draw(path: str, stem: Path) -> list[Path]:
        file = stem.with_name(stem.name + ".frames.png")
        save_timeline(file, path, look(model, path, rates), views)
        return [file]

    return for_each(args, draw)


def changes(args: argparse.Namespace) -> int:
    from slowfast.inference.explain.changes import find_changes, save_changes
    from slowfast.inference.explain.predictions import predictions_file, read_predictions

    source = predictions_file(args.predictions)
    out = args.out or source.parent
    check_folder("--out", out)
    found = find_changes(read_predictions(source), args.low, args.high)
    out.mkdir(parents=True, exist_ok=True)
    files = save_changes(out, found, source)
    print(found.summary())
    for file in files:
        print(f"wrote {file}")
    return 0


def load(args: argparse.Namespace):
    """The recognizer, and the rates to look at."""
    check_folder("--out", args.out)
    model = load_checkpoint(args)
    return model, rates_asked(model, args)


def for_each(args: argparse.Namespace, make: Callable[[str, Path], list[Path]]) -> int:
    """Make the files of each video; 1 if some cannot be read, whose errors come last."""
    import av
    from tqdm import tqdm

    from slowfast.datasets.video import VideoError
    from slowfast.inference.inputs import find_inputs

    failures = []
    for name, path in tqdm(find_inputs(args.videos), unit="video", disable=None):
        stem = args.out / name
        stem.parent.mkdir(parents=True, exist_ok=True)
        try:
            files = make(path, stem)
        except (VideoError, av.FFmpegError) as error:
            failures.append(str(error))
            continue
        for file in files:
            tqdm.write(f"wrote {file}")
    for failure in failures:
        print(f"not read: {failure}", file=sys.stderr)
    return 1 if failures else 0


_hinted: set[str] = set()


def hint_at_layer(model, seen, layer: str) -> None:
    """Say once which layer has a finer map, where that of the heat has few places."""
    from slowfast.inference.explain import finer_layer

    _, height, width = seen.evidence.places.shape
    if layer or _hinted or min(height, width) >= 4:
        return
    finer = finer_layer(model.net, seen.clip.tensor.to(model.device))
    _hinted.add(finer)
    if finer:
        text = f"the last map has only {height} x {width} places"
        print(f"{text}; for a finer one add: --layer {finer}", file=sys.stderr)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    sub = _of_videos(commands, cam, "what speaks for a class (Grad-CAM)")
    sub.add_argument(
        "--class", dest="target", metavar="NAME", help="or its number; the most likely of each rate"
    )
    sub.add_argument(
        "--layer", default="", help="module whose map is looked at; the last map before pooling"
    )
    sub.add_argument("--video", action="store_true", help="write an mp4 too")

    _of_videos(commands, frames, "which frames each rate saw")

    text = "videos that change their prediction as frames grow"
    sub = commands.add_parser("changes", help=text, description=text)
    sub.set_defaults(function=changes)
    sub.add_argument("predictions", type=Path, help="RUN/results/predictions.csv, or RUN")
    sub.add_argument("--low", default="", metavar="T", help="rate to compare; the lowest")
    sub.add_argument("--high", default="", metavar="T", help="with; the highest")
    sub.add_argument("--out", type=Path, help="folder; that of the predictions")
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] not in commands.choices and not words[0].startswith("-"):
        words.insert(0, cam.__name__)
    return parser.parse_args(words)


def _of_videos(commands, function, text: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(function.__name__, help=text, description=text)
    sub.set_defaults(function=function)
    sub.add_argument("checkpoint", help="a file of this project, like best.safetensors")
    sub.add_argument("videos", nargs="+", metavar="VIDEOS", help="files, folders, lists")
    sub.add_argument("--out", type=Path, default=Path("explained"), help="folder; explained")
    text = "frames of a clip, any, under each other; the trained counts"
    sub.add_argument("--frames", type=int, nargs="+", metavar="T", help=text)
    sub.add_argument("--size", type=int, default=0, help="pixels of a side; as in testing")
    sub.add_argument("--device", default="", help="cuda if there is one, else cpu")
    return sub


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    args = parse_args(argv)
    return exit_code(args.function, args)


if __name__ == "__main__":
    sys.exit(main())
