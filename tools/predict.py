#!/usr/bin/env python3
"""What a trained network says of videos.

    python tools/predict.py best.safetensors clip.mp4 FOLDER list.txt
    python tools/predict.py best.safetensors FOLDER --frames 8 --csv out.csv
    python tools/predict.py best.safetensors FOLDER --max-ms 20 --json out.json
    python tools/predict.py best.safetensors clip.mp4 --video labelled.mp4
    python tools/predict.py best.safetensors clip.mp4 --stream
    python tools/predict.py best.safetensors --camera 0 --stream

VIDEOS are files, folders (at any depth) and lists (a path per line); a folder of numbered images is
a video.  --stream predicts over the newest seconds of a video as it plays, or of a camera, at the
trained frame count that keeps up, and prints which that was.  Exit code 1 if a video could not be
read; the others are done all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.command_line import (
    add_precision,
    check_file,
    check_folder,
    exit_code,
    load_checkpoint,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkpoint", help="a file of this project, like best.safetensors")
    add("videos", nargs="*", metavar="VIDEOS", help="files, folders, lists")
    add("--camera", type=int, metavar="N", help="number of a camera, from 0")
    add("--frames", type=int, metavar="T", help="of a clip, any number; else the most trained")
    add("--size", type=int, metavar="S", help="pixels of a side; as in testing")
    add("--max-gflops", type=float, metavar="G", help="the dearest trained rate within G GFLOPs")
    add(
        "--max-ms", type=float, metavar="MS", help="within MS of the network, from pixels to scores"
    )
    add("--topk", type=int, default=5, metavar="K", help="classes to name; 5")
    add("--json", metavar="FILE", help="write everything known of each video; - prints it")
    add("--csv", metavar="FILE", help="write a line per video; - prints it")
    add("--video", type=Path, metavar="OUT", help="labelled mp4, or a folder of them for several")
    add("--stream", action="store_true", help="as the video plays")
    add("--window", type=float, metavar="SECONDS", help="of a stream to see; what a clip spans")
    add("--hop", type=float, default=0.5, metavar="SECONDS", help="to the next prediction; 0.5")
    add("--device", default="", help="cuda if there is one, else cpu")
    add("--threads", type=int, default=0, help="of the CPU; PyTorch's own number")
    add_precision(parser)
    args = parser.parse_args(argv)
    if not args.videos and args.camera is None:
        parser.error("give VIDEOS or --camera N")
    if args.stream and len(args.videos) + (args.camera is not None) != 1:
        parser.error("--stream takes one file or --camera N")
    if args.json and args.json == args.csv:
        parser.error(f"--json and --csv cannot both go to {args.json}")
    for place in (args.json, args.csv):
        if place and Path(place).is_dir():
            parser.error(f"{place} is a folder; name a file for --json and --csv")
    return args


def run(args: argparse.Namespace) -> int:
    check_places(args)
    model = load_checkpoint(args)
    if args.stream:
        return stream(model, args)
    return predict(model, args)


def check_places(args: argparse.Namespace) -> None:
    """Raises ValueError where a result could not be written in the end."""
    for option, place in (("--json", args.json), ("--csv", args.csv)):
        if place and place != "-":
            check_file(option, Path(place))
    if args.video is not None:
        is_folder = args.video.is_dir() or not args.video.suffix
        check_folder("--video", args.video if is_folder else args.video.parent)


# ---------------------------------------------------------------------------- videos


def predict(model, args: argparse.Namespace) -> int:
    """Every video by itself; 1 if one of them could not be read."""
    import av
    from tqdm import tqdm

    from slowfast.datasets.video import VideoError

    given = sources_of(args)
    films = films_of(args, given)
    found, failures = [], []
    bar = tqdm(given, desc="predicting", unit="video", disable=None)
    try:
        for (name, source), film in zip(bar, films, strict=True):
            try:
                for prediction in one(model, source, args, film):
                    found.append(prediction)
                    if "-" not in (args.json, args.csv):
                        tqdm.write(str(prediction))
            except (VideoError, av.FFmpegError) as error:
                path = name if isinstance(source, int) else source
                failures.append({"name": path, "error": str(error)})
                tqdm.write(f"not read: {error}", file=sys.stderr)
    finally:  # also what was done before an error or Ctrl-C
        if found or failures:  # else what an earlier run wrote would be lost for nothing
            write(args, found, failures)
    if failures:
        print(f"{len(failures)} of {len(given)} videos could not be read", file=sys.stderr)
    return 1 if failures else 0


def sources_of(args: argparse.Namespace) -> list[tuple[str, str | int]]:
    """A name and a source for each video, and for the camera."""
    from slowfast.inference.inputs import find_inputs

    videos = [tuple(found) for found in find_inputs(args.videos)] if args.videos else []
    camera = [] if args.camera is None else [(f"camera {args.camera}", args.camera)]
    return videos + camera


def films_of(args: argparse.Namespace, given: Sequence[tuple[str, str | int]]) -> list[Path | None]:
    from slowfast.inference.drawing import names_of, spare

    if args.video is None:
        return [None] * len(given)
    names, sources = zip(*given, strict=True)
    return spare(names_of(names, args.video), sources)


def one(model, source, args: argparse.Namespace, film: Path | None):
    """The prediction for a source; then its film is written, of which a frame may be damaged."""
    from slowfast.inference.drawing import write_labelled
    from slowfast.inference.sources import open_source, record

    budgets = {"budget_gflops": args.max_gflops, "budget_ms": args.max_ms}
    if isinstance(source, int):
        source = record(source, args.window or model.clip_seconds)
    prediction = model.predict(source, args.frames, size=args.size, topk=args.topk, **budgets)
    yield prediction
    if film is not None:
        with open_source(source, model.cfg, short_side=0) as video:  # as it was filmed
            write_labelled(video, prediction, film)


def write(args: argparse.Namespace, found: Sequence, failures: Sequence[dict[str, str]]) -> None:
    from slowfast.inference.predictions import to_csv, to_json

    for place, text in ((args.json, to_json), (args.csv, to_csv)):
        if place == "-":
            print(text(found, failures), end="")
        elif place:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            words = text(found, failures)  # names may be no UTF-8
            Path(place).write_text(words, encoding="utf-8", errors="surrogateescape")


# ---------------------------------------------------------------------------- streams


def stream(model, args: argparse.Namespace) -> int:
    """Predicts as the video comes in, until it ends or Ctrl-C; 1 if it broke off."""
    from contextlib import ExitStack, suppress

    import av

    from slowfast.datasets.video import VideoError
    from slowfast.inference.drawing import new_film
    from slowfast.inference.stream import open_feed, rates_within, watch

    rates = rates_within(model, args.frames, args.size, args.max_gflops, args.max_ms)
    for rate in rates:
        model.warm_up(rate)
    source = args.videos[0] if args.videos else args.camera
    name = f"camera {args.camera}" if args.camera is not None else Path(source).stem
    (out,) = films_of(args, [(name, source)])
    found, failures, shown = [], [], -1.0
    try:
        with ExitStack() as stack:
            feed = stack.enter_context(open_feed(source, args.window or model.clip_seconds))
            film = stack.enter_context(new_film(out, feed.fps)) if out else None
            stack.enter_context(suppress(KeyboardInterrupt))  # inside: the film is kept
            for seen in watch(model, feed, args.hop, rates, args.topk):
                found.append(seen.prediction)
                print(line(seen), flush=True)
                for at, picture in zip(*seen.window, strict=True) if film else ():
                    if at > shown:
                        film.add(picture, seen.prediction)
                        shown = at
    except (VideoError, av.FFmpegError) as error:
        failures.append({"name": str(source), "error": str(error)})
        print(f"not read: {error}", file=sys.stderr)
    write(args, found, failures)
    return 1 if failures else 0


def line(seen) -> str:
    """What was said of a window, at which rate, and how busy that kept the machine."""
    said = seen.prediction
    best = ", ".join(f"{a} {b:.0%}" for a, b in zip(said.labels[:2], said.scores[:2], strict=True))
    trained = said.rate.num_frames == said.num_frames
    rate = f"rate {said.rate}" if trained else f"{said.num_frames} frames"
    late = f"  ({seen.missed} left out before, being late)" if seen.missed else ""
    return f"{said.name:>14}  {rate:<10} load {seen.load:4.0%}  {best}{late}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
