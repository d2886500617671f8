"""Folders of numbered JPEG or PNG frames, and single images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from string import Formatter

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn.functional import interpolate

from slowfast.datasets.video.base import Video, VideoError, shrunk

SUFFIXES = (".jpg", ".jpeg", ".png")
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)  # the last number of a name


class ImageFrames(Video):
    """The numbered images of a folder, or a single image, as a video of `fps` frames per second.

    `template` names them, as in `img_{:05d}.jpg`; without one the images of the folder must all be
    named alike but for the last number.  Numbers start at `start`, lower ones are left alone, and
    leave none out; -1 starts at 0 or 1.  `short_side` shrinks larger images, JPEGs partly while
    decoding.  Raises VideoError for a folder without
    such images or with a gap in their numbers, and for an image that cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        short_side: int = 0,
        template: str = "",
        fps: float = 30.0,
        start: int = -1,
    ) -> None:
        self.path = str(path)
        self.fps = fps
        self._short_side = short_side
        if os.path.isdir(self.path):
            names = _in_order(self.path, _numbered_files(self.path, template), start)
            self._files = [os.path.join(self.path, name) for name in names]
        else:
            self._files = [self.path]
        self.timestamps = np.arange(len(self._files)) / fps

    @property
    def num_bytes(self) -> int:
        with _open(self._files[0]) as image:
            height, width = shrunk(image.height, image.width, self._short_side)
        return self.num_frames * height * width * 3

    def _read(self, ranks: np.ndarray) -> np.ndarray:
        files = [self._files[rank] for rank in ranks]
        first = self._picture(files[0])
        pictures = np.empty((len(files), *first.shape), np.uint8)
        pictures[0] = first
        for i, file in enumerate(files[1:], start=1):
            picture = self._picture(file)
            if picture.shape != first.shape:
                raise VideoError(
                    f"{file} is {_words(picture.shape)} pixels large, but {files[0]} is "
                    f"{_words(first.shape)}; frames of a video must agree"
                )
            pictures[i] = picture
        return pictures

    def _picture(self, path: str) -> np.ndarray:
        """The image as (H, W, 3) uint8 RGB, shrunk and upright."""
        with _open(path) as image:
            small = shrunk(image.height, image.width, self._short_side)
            if small != (image.height, image.width):
                image.draft("RGB", small[::-1])  # a JPEG decodes at 1/2, 1/4 or 1/8, not below
            try:
                pixels = np.asarray(_as_rgb(ImageOps.exif_transpose(image)))
            except (OSError, SyntaxError, ValueError) as error:
                raise VideoError(f"{path} is damaged ({error})") from error
        size = shrunk(*pixels.shape[:2], self._short_side)
        if size == pixels.shape[:2]:
            return pixels
        planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
        small = interpolate(planes, size, mode="bilinear", antialias=True)
        return small[0].permute(1, 2, 0).numpy()


def is_image(path: str) -> bool:
    """Whether a file is an image, by its name."""
    return path.lower().endswith(SUFFIXES)


def check_template(template: str) -> None:
    """Raises ValueError unless `template` is empty or names files by one number."""
    if template:
        _affixes(template)


def _open(path: str) -> Image.Image:
    try:
        return Image.open(path)
    except OSError as error:
        reason = "empty, 0 bytes" if os.path.exists(path) and not os.path.getsize(path) else error
        raise VideoError(f"{path} is not a readable image ({reason})") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # which `convert` would clip to white instead of scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


# ---------------------------------------------------------------------------- names of a folder


def _numbered_files(folder: str, template: str) -> dict[int, str]:
    """The names of the frames in `folder` by number."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if template:
        prefix, suffix = _affixes(template)
        files = {}
        for name in names:
            middle = name[len(prefix) : len(name) - len(suffix)]
            if middle.isdecimal() and template.format(int(middle)) == name:
                files[int(middle)] = name
        if not files:
            raise VideoError(
                f"{folder} has no frame named as {template.format(1)!r}, {_example(names)}; "
                f"DATA.IMAGE_TEMPLATE is {template!r}"
            )
        return files
    groups = _by_pattern(name for name in names if is_image(name))
    if not groups:
        raise VideoError(f"{folder} is a folder without numbered images, {_example(names)}")
    if len(groups) > 1:
        kinds = ", ".join(repr(next(iter(files.values()))) for files in groups.values())
        raise VideoError(
            f"{folder} holds frames of {len(groups)} kinds ({kinds}); set DATA.IMAGE_TEMPLATE "
            f"to one, as in 'img_{{:05d}}.jpg'"
        )
    return next(iter(groups.values()))


def _by_pattern(names: Iterable[str]) -> dict[tuple[str, str, bool], dict[int, str]]:
    """Names by what stands around their last number, then by that number.

    `1.jpg` and `01.jpg` are of two kinds.
    """
    groups: dict[tuple[str, str, bool], dict[int, str]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            prefix, digits, suffix = match.groups()
            files = groups.setdefault((prefix, suffix, False), {})
            if int(digits) in files:
                files = groups.setdefault((prefix, suffix, True), {})
            files[int(digits)] = name
    return groups


def _in_order(folder: str, names: dict[int, str], start: int) -> list[str]:
    """The names by rising number.  Raises VideoError if one from `start` on is left out."""
    numbers = sorted(number for number in names if number >= start)
    if not numbers:
        raise VideoError(
            f"{folder} has no frame {start} or later, the last is {names[max(names)]}; "
            f"DATA.IMAGE_START is {start}"
        )
    first = min(numbers[0], 1) if start < 0 else start
    whole = range(first, numbers[-1] + 1)
    if len(numbers) < len(whole):
        missing = next(n for n, present in zip(whole, numbers, strict=False) if n != present)
        after = names[max((n for n in numbers if n < missing), default=numbers[0])]
        place = "behind" if missing > numbers[0] else "before"
        raise VideoError(
            f"{folder} lacks frame {missing}, {place} {after}: "
            f"{len(whole) - len(numbers)} of {len(whole)} are missing"
        )
    return [names[number] for number in numbers]


def _affixes(template: str) -> tuple[str, str]:
    """What stands before and behind the number of a template."""
    try:
        parts = list(Formatter().parse(template))
        template.format(1)
        fields = [part for part in parts if part[1] is not None]
    except (ValueError, IndexError, KeyError):
        fields = []
    if len(fields) != 1 or not is_image(template):
        raise ValueError(
            f"DATA.IMAGE_TEMPLATE={template!r} must hold one number and end in "
            f"{', '.join(SUFFIXES)}, as in 'img_{{:05d}}.jpg'"
        )
    return parts[0][0], "".join(part[0] for part in parts[1:])


def _example(names: list[str]) -> str:
    return f"but {names[0]!r}" if names else "it is empty"


def _words(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
