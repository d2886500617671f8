"""From a trained network to files that run without this project."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import torch

from slowfast.datasets.video import VideoError
from slowfast.inference.export.bundle import describe, write_bundle
from slowfast.inference.export.compare import (
    Row,
    accuracies,
    check,
    errors,
    latencies,
    megabytes,
    torch_way,
)
from slowfast.inference.export.graph import to_onnx, to_program
from slowfast.inference.export.optional import PACKAGES, need
from slowfast.inference.export.quantize import quantize
from slowfast.inference.export.session import Session
from slowfast.inference.precision import ToLogits, is_native
from slowfast.inference.recognizer import Recognizer
from slowfast.models.flexible import Rate

FORMATS = ("onnx", "program", "bundle")
FILES = {"onnx": "model_{}.onnx", "int8": "model_{}.int8.onnx", "program": "model_{}.pt2"}
BUNDLE = "bundle.zip"


@dataclass(frozen=True)
class Plan:
    """What to export, and how to look at it.

    formats       of `FORMATS`
    calibrate     videos that set the ranges of 8 bits; without them there is no int8
    videos        (path, class) of those to measure the accuracy on
    small_bundle  whether the bundle holds the networks of 8 bits
    batch         clips of one call, timed in `repeats` turns with so many `threads`
    """

    formats: tuple[str, ...] = ("onnx", "bundle")
    calibrate: tuple[str, ...] = ()
    videos: tuple[tuple[str, int], ...] = ()
    small_bundle: bool = False
    batch: int = 1
    repeats: int = 20
    threads: int = 1


def choose_rates(recognizer: Recognizer, names: Sequence[str]) -> list[Rate]:
    """The trained rates of these names, all without any; ValueError for one that is not trained."""
    known = {str(rate): rate for rate in recognizer.rates}
    for name in names:
        if name not in known:
            raise ValueError(f"no rate {name!r}; this network has {', '.join(known)}")
    return [rate for name, rate in known.items() if not names or name in names]


def planned_files(rates: Sequence[Rate], plan: Plan) -> list[str]:
    """The names of what `export` will leave."""
    kinds = [kind for kind in ("onnx", "program") if kind in plan.formats]
    if plan.calibrate and "onnx" in plan.formats:
        kinds.append("int8")
    names = [FILES[kind].format(rate) for rate in rates for kind in kinds]
    return [*names, BUNDLE] if "bundle" in plan.formats else names


def export(
    recognizer: Recognizer,
    rates: Sequence[Rate],
    folder: Path,
    plan: Plan,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Writes the files of `plan` for `rates` into `folder`; a row per rate and form.

    Every form has to agree with the network, see `compare.check`, but for the one of 8 bits, whose
    distance is reported.  The files appear when all are made.  Raises ValueError where a package
    is missing, where the network has no such form, and at once for what a bundle cannot describe.
    """
    need(*PACKAGES)
    kind = "int8" if plan.small_bundle else "onnx"
    inside = {rate: FILES[kind].format(rate) for rate in rates}
    description = describe(recognizer, inside) if "bundle" in plan.formats else {}
    folder.mkdir(parents=True, exist_ok=True)
    calibration = Calibration(recognizer, plan.calibrate, tell)
    rows: list[Row] = []
    with TemporaryDirectory(prefix=".export-", dir=folder) as made:
        for rate in rates:
            files = _write(recognizer, rate, Path(made), plan, calibration, tell)
            tell(f"rate {rate}: comparing")
            rows += _compare(recognizer, rate, files, plan)
        if description:
            write_bundle(Path(made) / BUNDLE, description, Path(made))
        for name in planned_files(rates, plan):
            (Path(made) / name).replace(folder / name)
    return rows


def clip_of(recognizer: Recognizer, rate: Rate, path: str) -> np.ndarray:
    """`(1, 3, T, S, S)` of a video as testing reads it; VideoError if it cannot be read."""
    pixels = recognizer.cut(path, rate.num_frames).pixels.permute(0, 3, 1, 2)
    return recognizer.normalize(pixels).unsqueeze(0).numpy()


class Calibration:
    """The clips of those `videos` that can be read; others are told once and left out."""

    def __init__(
        self, recognizer: Recognizer, videos: Sequence[str], tell: Callable[[str], None]
    ) -> None:
        self.recognizer, self.videos, self.tell = recognizer, tuple(videos), tell

    def clips(self, rate: Rate) -> Iterator[np.ndarray]:
        """Raises ValueError in the end if there was none."""
        readable = []
        for path in self.videos:
            try:
                clip = clip_of(self.recognizer, rate, path)
            except (VideoError, av.FFmpegError) as error:
                self.tell(f"not read: {error}")
                continue
            readable.append(path)
            yield clip
        count, self.videos = len(self.videos), tuple(readable)
        if not readable:
            raise ValueError(
                f"none of the {count} videos to calibrate 8 bits with can be read; give others"
            )
        if len(readable) < count:
            left_out = count - len(readable)
            self.tell(f"{left_out} of {count} videos are left out of the calibration")


def _write(
    recognizer: Recognizer,
    rate: Rate,
    folder: Path,
    plan: Plan,
    calibration: Calibration,
    tell: Callable[[str], None],
) -> dict[str, Path]:
    """The ONNX files of a rate by the name of their form; a program is written, too, if asked."""
    paths = {kind: folder / name.format(rate) for kind, name in FILES.items()}
    tell(f"rate {rate}: tracing")
    side = recognizer.cfg.DATA.TEST_CROP_SIZE
    shape = (3, rate.num_frames, side, side)
    size, activation = recognizer.side(rate.size), recognizer.cfg.MODEL.HEAD_ACT
    program = to_program(recognizer.at(rate), shape, size, activation)
    if "program" in plan.formats:
        torch.export.save(program, paths["program"])
    tell(f"rate {rate}: ONNX")
    to_onnx(program, paths["onnx"])
    if not plan.calibrate:
        return {"ONNX Runtime": paths["onnx"]}
    tell(f"rate {rate}: 8 bits, calibrating on {len(calibration.videos)} videos")
    quantize(paths["onnx"], paths["int8"], calibration.clips(rate))
    return {"ONNX Runtime": paths["onnx"], "int8": paths["int8"]}


def _compare(
    recognizer: Recognizer, rate: Rate, files: Mapping[str, Path], plan: Plan
) -> list[Row]:
    nets = {"eager": recognizer.net, "folded": recognizer.at(rate)}
    if is_native("bf16", recognizer.device):
        nets["folded bf16"] = ToLogits(copy.deepcopy(recognizer.at(rate)), torch.bfloat16)
    size = recognizer.side(rate.size)
    ways = {name: torch_way(net, size) for name, net in nets.items()}
    ways |= {name: Session(path, plan.threads) for name, path in files.items()}
    clips = [clip_of(recognizer, rate, path) for path, _ in plan.videos]
    side, rng = recognizer.cfg.DATA.TEST_CROP_SIZE, np.random.default_rng(0)
    shape = (3, rate.num_frames, side, side)
    # Batches of one and three: a graph may hold a batch that it was traced with.
    noise = [rng.standard_normal((count, *shape), np.float32) for count in (1, 3)]
    found = errors(ways, [*noise, *clips[:16]])
    check(str(rate), found, ("folded", "ONNX Runtime"))
    timed = rng.standard_normal((plan.batch, *shape), np.float32)
    taken = latencies(ways, timed, plan.repeats)
    labels = [label for _, label in plan.videos]
    right = accuracies(ways, clips, labels) if clips else {}
    sizes = {name: megabytes(thing) for name, thing in (nets | dict(files)).items()}
    return [
        Row(str(rate), way, sizes[way], found[way], *taken[way], right.get(way)) for way in ways
    ]
