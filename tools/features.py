#!/usr/bin/env python3
"""Features of videos, as tools for temporal detection read them.

    python tools/features.py best.safetensors VIDEOS --out features
    python tools/features.py best.safetensors VIDEOS --out features --frames 4 8 16 --window 64

VIDEOS are files, folders and lists (a path per line).  OUT/frames_8/NAME.npy is the (windows, C)
float32 array of a video at 8 frames, NAME.json its fps, window and stride.  What is there already
is not made again.  Exit code 1 if a video could not be read; the others are done all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.command_line import check_folder, exit_code, load_checkpoint, rates_asked


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="a file of this project, like best.safetensors")
    parser.add_argument("videos", nargs="+", metavar="VIDEOS", help="files, folders, lists")
    parser.add_argument(
        "--out", type=Path, default=Path("features"), help="folder of the features; features"
    )
    parser.add_argument(
        "--frames",
        type=int,
        nargs="+",
        metavar="T",
        help="frames of a clip, any; several share the decoding; the trained counts",
    )
    parser.add_argument("--size", type=int, default=0, help="pixels of a side; as in testing")
    parser.add_argument(
        "--window",
        type=int,
        default=0,
        help="frames of the video per feature; what a clip spans in testing, or 32",
    )
    parser.add_argument("--stride", type=int, default=0, help="frames to the next; half a window")
    parser.add_argument(
        "--whole", action="store_true", help="one feature of the whole video, as in testing"
    )
    parser.add_argument(
        "--layer",
        choices=("map", "head"),
        default="map",
        help="the last map, averaged, or what the classifier takes; map",
    )
    parser.add_argument(
        "--spatial", action="store_true", help="average the map over time alone: (windows, C, H, W)"
    )
    parser.add_argument(
        "--format", choices=("npy", "parquet"), default="npy", help="a file per video, or one table"
    )
    parser.add_argument("--batch", type=int, default=16, help="windows that run together; 16")
    parser.add_argument("--device", default="", help="cuda if there is one, else cpu")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    check_folder("--out", args.out)
    from tqdm import tqdm

    from slowfast.inference.feature_files import FeatureFolder, fingerprint
    from slowfast.inference.features import FeatureReader
    from slowfast.inference.inputs import find_inputs

    inputs = find_inputs(args.videos)
    model = load_checkpoint(args)
    rates = rates_asked(model, args)
    reader = FeatureReader(
        model,
        args.layer,
        spatial=args.spatial,
        window=args.window,
        stride=args.stride,
        whole=args.whole,
        batch=args.batch,
    )
    settings = {
        "network": model.cfg.MODEL.MODEL_NAME,
        "weights": fingerprint(args.checkpoint),
        "layer": args.layer,
        "spatial": args.spatial,
        "whole": args.whole,
        "window": args.window,
        "stride": args.stride,
    }
    folder = FeatureFolder(args.out, settings, rates, args.format)
    bar = tqdm(inputs, desc="features", unit="video")
    done, skipped, failures = extract(reader, folder, bar)
    for place in folder.finish():
        print(f"wrote {place}")
    print(f"{done} videos done, {skipped} were there already, {len(failures)} cannot be read")
    for failure in failures:
        print(f"not read: {failure}", file=sys.stderr)
    return 1 if failures else 0


def extract(reader, folder, inputs) -> tuple[int, int, list[str]]:
    """How many videos were done and how many before, and what is wrong with the others."""
    import av

    from slowfast.datasets.video import VideoError
    from slowfast.inference.sources import open_source

    done, skipped, failures = 0, 0, []
    for name, path in inputs:
        rates = folder.missing(name, path)
        if not rates:
            skipped += 1
            continue
        try:
            with open_source(path, reader.cfg) as video:
                features = reader(video, rates)
        except (VideoError, av.FFmpegError) as error:
            failures.append(str(error))
            continue
        folder.write(name, path, features)
        done += 1
    return done, skipped, failures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
