"""From a folder of videos per class to lists, class names and a configuration that trains."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import NamedTuple

from slowfast.datasets.annotations import subfolders, videos_in
from slowfast.datasets.lines import write_lines

FILES = ("train.csv", "val.csv", "classes.txt", "config.yaml")

_CONFIG = Template("""\
# A small frame-flexible network on the videos of $name: $train to train, $val to validate.
# Written by tools/data.py init; slowfast/config/defaults explains every key.
FFN:
  ENABLE: True
  NUM_FRAMES: [4, 8, 16]
MODEL:
  MODEL_NAME: R2Plus1D
  NUM_CLASSES: $classes
  DROPOUT_RATE: 0.2
R2PLUS1D:
  WIDTHS: [32, 64, 128]
  BLOCKS: [1, 1, 1]
DATA:
  PATH_TO_DATA_DIR: $folder
  RANDOM_FLIP: False  # True if every class looks the same in a mirror
  TRAIN_JITTER_SCALES: [64, 80]
  TRAIN_CROP_SIZE: 64
  TEST_CROP_SIZE: 64
  DECODE_SHORT_SIDE: 96
  CACHE_GB: 1.0
DATA_LOADER:
  NUM_WORKERS: 2
TRAIN:
  DATASET: custom
  BATCH_SIZE: $batch
  EVAL_PERIOD: 5
  CHECKPOINT_PERIOD: 5
TEST:
  DATASET: custom
  BATCH_SIZE: 8
  NUM_ENSEMBLE_VIEWS: 2
  NUM_SPATIAL_CROPS: 1
SOLVER:
  BASE_LR: 0.05
  MAX_EPOCH: $epochs
  WARMUP_EPOCHS: 2
  WEIGHT_DECAY: 5e-4
  CLIP_GRAD_L2NORM: 20
OUTPUT_DIR: $output
""")


class Made(NamedTuple):
    """The configuration that was written, and how many videos of each class there are."""

    config: Path
    train: dict[str, int]
    val: dict[str, int]


def init_folder(folder: Path, val_share: float = 0.2, seed: int = 0) -> Made:
    """Write train.csv, val.csv, classes.txt and config.yaml into `folder`, which holds the videos.

    The videos lie in a folder per class: `folder`/CLASS, of which a `val_share` drawn by `seed`
    becomes the validation set (one video at least, unless it is the only one of its class), or
    `folder`/train/CLASS and `folder`/val/CLASS.  A folder of images counts as a video.  Raises
    ValueError if one of the files is there already, or without two classes or a validation video.
    """
    folder = Path(folder).resolve()
    if found := [name for name in FILES if (folder / name).exists()]:
        raise ValueError(f"{folder / found[0]} is there already; remove it to start anew")
    splits = _divided(folder, val_share, seed)
    classes = sorted(set(splits["train"]) | set(splits["val"]))
    _check(folder, splits, classes)
    for split, by_class in splits.items():
        names = [name for c in classes for name in by_class.get(c, [])]
        labels = [(i,) for i, c in enumerate(classes) for _ in by_class.get(c, [])]
        write_lines(folder / f"{split}.csv", names, labels)
    (folder / "classes.txt").write_text("".join(f"{c}\n" for c in classes), encoding="utf-8")
    train, val = ({c: len(names) for c, names in splits[s].items()} for s in ("train", "val"))
    config = folder / "config.yaml"
    config.write_text(_config(folder, sum(train.values()), sum(val.values()), len(classes)))
    return Made(config, train, val)


def _divided(folder: Path, val_share: float, seed: int) -> dict[str, dict[str, list[str]]]:
    """Paths from `folder` by split and class."""
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return {split: _by_class(folder, split) for split in ("train", "val")}
    train, val = {}, {}
    for name, paths in _by_class(folder, "").items():
        shuffled = random.Random(f"{seed} {name}").sample(paths, len(paths))
        count = 0 if len(paths) == 1 else max(1, round(val_share * len(paths)))
        train[name], val[name] = sorted(shuffled[count:]), sorted(shuffled[:count])
    return {"train": train, "val": val}


def _by_class(folder: Path, split: str) -> dict[str, list[str]]:
    prefix = f"{split}/" if split else ""
    found = {path.name: videos_in(path) for path in subfolders(folder / split)}
    return {name: [prefix + video for video in videos] for name, videos in found.items() if videos}


def _check(folder: Path, splits: Mapping[str, Mapping[str, list]], classes: list[str]) -> None:
    if len(classes) < 2:
        what = f"only {classes[0]!r}" if classes else "no folder"
        raise ValueError(f"{folder} holds {what} with videos; put those of each class in a folder")
    if unseen := [name for name in classes if not splits["train"].get(name)]:
        raise ValueError(f"class {unseen[0]!r} has no videos to train on; move some to train/")
    if not any(splits["val"].values()):
        raise ValueError(f"{folder} leaves no video to validate on; add a second one to a class")


def _config(folder: Path, train: int, val: int, classes: int) -> str:
    batch = min(8, train)
    return _CONFIG.substitute(
        name=folder.name,
        folder=_quoted(folder),
        output=_quoted(Path("runs") / folder.name),
        train=train,
        val=val,
        classes=classes,
        batch=batch,
        epochs=max(10, min(60, -(-600 * batch // train))),  # about 600 steps
    )


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
