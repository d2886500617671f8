"""Features on disk: a file per video or a table, written whole and never twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from slowfast.inference.features import Features
from slowfast.inference.whole_file import whole_file
from slowfast.models.flexible import Rate
from slowfast.weights.replacing import replacing

SETTINGS = "features.json"
FORMATS = ("npy", "parquet")


class FeatureFolder:
    """The features of many videos in `folder`.

    features.json           how they were made
    frames_8/NAME.npy       an array per video at 8 frames; NAME.json has its fps, window and stride
    frames_8.parquet        or one table, a row per window

    What is there is not made again, so that a run which was interrupted goes on.  `settings` are
    plain values; those of another run in `folder` must be the same, else ValueError.  A parquet
    table takes in what is in files beside it when it is made, `make_table`.  ValueError without
    the pyarrow package, if that is the `kind`.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], rates: Sequence[Rate], kind: str = "npy"
    ) -> None:
        if kind not in FORMATS:
            raise ValueError(f"format={kind!r} must be one of {', '.join(FORMATS)}")
        if kind == "parquet":
            _pyarrow()
        self.folder, self.settings, self.rates, self.kind = folder, dict(settings), rates, kind
        folder.mkdir(parents=True, exist_ok=True)
        self._check_settings()
        self._in_table = {rate: self._videos_in_table(rate) for rate in rates}

    def missing(self, name: str, path: str = "") -> list[Rate]:
        """The rates at which video `name` has no features yet.

        ValueError where there are those of another video of this name than that at `path`.
        """
        for rate in self.rates:
            self._check_video(rate, name, path)
        return [
            rate
            for rate in self.rates
            if _text(name) not in self._in_table[rate]
            and not _is_whole(self._file(rate, name, ".npy"))
        ]

    def write(self, name: str, path: str, features: Features) -> None:
        """Keep the features of video `name`, the array last: where it is, all is."""
        for rate, rows in features.rows.items():
            about = {
                "video": os.path.basename(path),
                **({"bytes": _bytes(path)} if _bytes(path) else {}),
                "fps": features.fps,
                "video_frames": features.video_frames,
                "duration": features.video_frames / features.fps,
                "window": features.window,
                "stride": features.stride,
                "frames": rate.num_frames,
                "starts": list(features.starts),
                "shape": list(rows.shape),
            }
            target = self._file(rate, name, ".npy")
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._file(rate, name, ".json")) as temporary:
                temporary.write_text(json.dumps(about), encoding="utf-8")
            with whole_file(target) as temporary, temporary.open("wb") as file:
                np.save(file, rows)

    def _check_video(self, rate: Rate, name: str, path: str) -> None:
        file, size = self._file(rate, name, ".json"), _bytes(path)
        known = {self._table(rate): self._in_table[rate].get(_text(name), 0)}
        if file.exists():
            known[file] = json.loads(file.read_text(encoding="utf-8")).get("bytes", 0)
        for place, other in known.items():
            if size and other and size != other:
                raise ValueError(
                    f"{place} has another video called {name!r} than {path}; choose another --out, "
                    "or give both in one command, which tells them apart"
                )

    def finish(self) -> list[Path]:
        """Where the features are; makes the tables, if that is the kind, of all that is there."""
        if self.kind == "npy":
            return [self._part(rate) for rate in self.rates]
        return [self._make_table(rate) for rate in self.rates]

    # ------------------------------------------------------------------ places and settings

    def _part(self, rate: Rate) -> Path:
        return self.folder / f"frames_{rate}"

    def _table(self, rate: Rate) -> Path:
        return self.folder / f"frames_{rate}.parquet"

    def _file(self, rate: Rate, name: str, suffix: str) -> Path:
        return self._part(rate) / f"{name}{suffix}"

    def _check_settings(self) -> None:
        path, text = self.folder / SETTINGS, json.dumps(self.settings, indent=1)
        if not path.exists():
            with whole_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        for key, value in json.loads(text).items():
            if found.get(key) != value:
                raise ValueError(
                    f"the features in {self.folder} were made {_with(key, found.get(key))}, "
                    f"not {_with(key, value)}; choose another folder, or remove that one"
                )

    # ------------------------------------------------------------------ tables

    def _videos_in_table(self, rate: Rate) -> dict[str, int]:
        """Bytes of each video, by its name; 0 where they are not known."""
        path = self._table(rate)
        if self.kind != "parquet" or not path.exists():
            return {}
        with _pyarrow().ParquetFile(path) as table:  # its columns may be those of before `bytes`
            rows = table.read(["video", "bytes"]).to_pylist()
        return {row["video"]: row.get("bytes", 0) for row in rows}

    def _make_table(self, rate: Rate) -> Path:
        """The rows of the table that is there and those of the files, which then go."""
        path, part = self._table(rate), self._part(rate)
        files = sorted(part.rglob("*.npy"))
        known = self._videos_in_table(rate)  # a run that was stopped may have left files of it
        new = [file for file in files if _text(_name(part, file)) not in known]
        if new:
            size = sum(file.stat().st_size for file in new) + (path.stat().st_size if known else 0)
            with replacing(path, size) as temporary:
                _write_table(temporary, path if known else None, part, new, self.settings)
        for file in files:
            file.unlink()
            _about(file).unlink()
        for folder in sorted((p for p in (part, *part.rglob("*")) if p.is_dir()), reverse=True):
            folder.rmdir()
        return path


def _write_table(
    target: Path, old: Path | None, part: Path, files: Sequence[Path], settings: Mapping[str, Any]
) -> None:
    import pyarrow

    parquet = _pyarrow()
    first = next(_rows(part, files[0]))
    schema = parquet.read_schema(old) if old else _schema(len(first["feature"]), settings)
    with parquet.ParquetWriter(target, schema) as writer:
        for batch in parquet.ParquetFile(old).iter_batches() if old else ():
            writer.write_batch(batch)
        for file in files:
            writer.write_table(pyarrow.Table.from_pylist(list(_rows(part, file)), schema))


def _with(key: str, value: Any) -> str:
    """A setting in words; 0 stands for the usual one."""
    if isinstance(value, bool):
        return f"with {key}" if value else f"without {key}"
    return f"with the usual {key}" if value == 0 else f"with {key} {value}"


def _is_whole(path: Path) -> bool:
    """Whether there is an array; a failure of power may have left a part of it."""
    try:
        return np.load(path, mmap_mode="r").size > 0
    except (OSError, ValueError, EOFError):
        return False


def _bytes(path: str) -> int:
    """Of a video file; 0 for a folder of images, and where there is none."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _name(part: Path, file: Path) -> str:
    return file.relative_to(part).as_posix().removesuffix(".npy")


def _text(name: str) -> str:
    """`name` as tables have it: what is no UTF-8 in the name of a file is spelt out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _about(file: Path) -> Path:
    return file.with_name(f"{file.stem}.json")


def _rows(part: Path, file: Path) -> Iterator[dict[str, Any]]:
    """The rows of one video in a table: what is in its two files."""
    about = json.loads(_about(file).read_text(encoding="utf-8"))
    rows = np.load(file).reshape(len(about["starts"]), -1)
    for start, row in zip(about["starts"], rows, strict=True):
        yield {
            "video": _text(_name(part, file)),
            "start_frame": start,
            "start": start / about["fps"],
            "end": (start + about["window"]) / about["fps"],
            "fps": about["fps"],
            "bytes": about.get("bytes", 0),
            "feature": row,
        }


def _schema(dim: int, settings: Mapping[str, Any]) -> Any:
    import pyarrow

    fields = {
        "video": pyarrow.string(),
        "start_frame": pyarrow.int64(),
        "start": pyarrow.float64(),
        "end": pyarrow.float64(),
        "fps": pyarrow.float64(),
        "bytes": pyarrow.int64(),
        "feature": pyarrow.list_(pyarrow.float32(), dim),
    }
    return pyarrow.schema(fields, {"features": json.dumps(settings)})


def _pyarrow() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            "parquet tables need pyarrow: pip install 'slowfast-ffn[parquet]', or take npy files"
        ) from error
    return parquet


def fingerprint(path: str | os.PathLike) -> str:
    """The same for the same bytes: which weights features are of."""
    digest = blake2b(digest_size=8)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
