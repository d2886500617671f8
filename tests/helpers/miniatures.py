"""The published data sets in their own layout, with a few tiny videos."""

import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.videos import grey, write_grey_video

CLASSES = ("Closing something", "Holding something, then dropping it", "Opening something")


class Videos:
    """Copies of one tiny video, which is encoded once; their files differ by what decoders skip."""

    def __init__(self, folder: Path, num_frames: int = 12) -> None:
        self.num_frames = num_frames
        self._source = write_grey_video(folder / "source.mp4", num_frames, (32, 40))

    def put(self, *paths: Path) -> None:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            name = str(path).encode()
            box = struct.pack(">I", len(name) + 8) + b"free" + name
            path.write_bytes(self._source.read_bytes() + box)

    def put_frames(self, folder: Path, template: str = "{:05d}.jpg", num_frames: int = 6) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(list(f"{folder}/{template}".encode()))
        for i in range(num_frames):
            pixels = grey(i) + noise.integers(0, 9, (24, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / template.format(i + 1))


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def ssv2(folder: Path, videos: Videos) -> None:
    """labels.json, train.json, validation.json, and webm files that are mp4 inside."""
    labels = {name: str(i) for i, name in enumerate(CLASSES)}
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "test.json").write_text(json.dumps([{"id": "99"}]))
    for split, ids in {"train": range(1, 7), "validation": range(7, 10)}.items():
        items = []
        for i in ids:
            template = CLASSES[i % 3].replace("something", "[something]")
            label = template.replace("[something]", "a box")
            items.append({"id": str(i), "label": label, "template": template})
            videos.put(folder / f"20bn-something-something-v2/{i}.webm")
        (folder / f"{split}.json").write_text(json.dumps(items))


def _csv_and_frames(folder: Path, videos: Videos, name: str, frames: str) -> None:
    write(folder / f"{name}-labels.csv", *reversed(CLASSES))  # not in alphabetical order
    write(folder / f"{name}-test.csv", "99")
    for split, ids in {"train": range(1, 7), "validation": range(7, 10)}.items():
        write(folder / f"{name}-{split}.csv", *(f"{i};{CLASSES[i % 3]}" for i in ids))
        for i in ids:
            videos.put_frames(folder / frames / str(i))


def ssv1(folder: Path, videos: Videos) -> None:
    """csv files `id;class`, and a folder of frames per id."""
    _csv_and_frames(folder, videos, "something-something-v1", "20bn-something-something-v1")


def jester(folder: Path, videos: Videos) -> None:
    """As Something-Something V1."""
    _csv_and_frames(folder, videos, "jester-v1", "20bn-jester-v1")


def kinetics(folder: Path, videos: Videos) -> None:
    """train.csv and validate.csv with a header; train/CLASS/ID_START_END.mp4."""
    for split, use in (("train", "train"), ("validate", "val")):
        rows = ["label,youtube_id,time_start,time_end,split"]
        for i in range(6 if split == "train" else 3):
            name = ("archery", '"air, drumming"', "yoga")[i % 3]
            rows.append(f"{name},-vid{split[0]}{i}_x,{i},{i + 10},{split}")
            clip = f"-vid{split[0]}{i}_x_{i:06d}_{i + 10:06d}.mp4"
            videos.put(folder / use / name.strip('"').replace(" ", "_") / clip)
        write(folder / f"{split}.csv", *rows)


def hvu(folder: Path, videos: Videos) -> None:
    """HVU_{Train,Val}_V1.0.csv, HVU_Tags_Categories_V1.0.csv; videos/ID_START_END.mp4."""
    kinds = ("Sand,Object", "Beach,Scene", "Running,Action")
    write(folder / "HVU_Tags_Categories_V1.0.csv", "Tag,Category", *kinds)
    of_split = {"Train": ("Beach|Sand", "Running", "Sand"), "Val": ("Running|Beach",)}
    for split, tags in of_split.items():
        rows = [f"{tag},{split}{i}_x,{i}.0,{i + 10}.0" for i, tag in enumerate(tags)]
        write(folder / f"HVU_{split}_V1.0.csv", "Tags,youtube_id,time_start,time_end", *rows)
        for i in range(len(tags)):
            videos.put(folder / "videos" / f"{split}{i}_x_{i:06d}_{i + 10:06d}.mp4")


def hmdb51(folder: Path, videos: Videos) -> None:
    """testTrainMulti_7030_splits/CLASS_test_splitN.txt and videos/CLASS/*.avi."""
    for name in ("brush_hair", "cartwheel", "wave"):
        clips = [f"{name}_{i}_#1.avi" for i in range(4)]
        for fold in (1, 2, 3):
            uses = [(0, 1, 1, 2), (1, 0, 1, 2), (2, 1, 1, 1)][fold - 1]
            lines = (f"{clip} {use} " for clip, use in zip(clips, uses, strict=True))
            write(folder / f"testTrainMulti_7030_splits/{name}_test_split{fold}.txt", *lines)
        videos.put(*(folder / "videos" / name / clip for clip in clips))


def ucf101(folder: Path, videos: Videos) -> None:
    """ucfTrainTestlist/{classInd,trainlist01,testlist01}.txt and UCF-101/CLASS/*.avi."""
    names, lists = ("ApplyEyeMakeup", "Archery", "YoYo"), folder / "ucfTrainTestlist"
    clips = [[f"{n}/v_{n}_g0{i}_c01.avi" for i in range(3)] for n in names]
    write(lists / "classInd.txt", *(f"{i} {n}" for i, n in enumerate(names, 1)))
    for fold in (1, 2, 3):
        train = (f"{clip} {i}" for i, own in enumerate(clips, 1) for clip in own[:2])
        write(lists / f"trainlist0{fold}.txt", *train)
        write(lists / f"testlist0{fold}.txt", *(own[2] for own in clips))
    videos.put(*(folder / "UCF-101" / clip for own in clips for clip in own))


def activitynet(folder: Path, videos: Videos) -> None:
    """activity_net.v1-3.min.json, and videos with several suffixes."""
    sets = {
        "aaa": ("training", ["Archery"]),
        "bbb": ("training", ["Yoga", "Archery", "Yoga"]),
        "-cc": ("training", ["Zumba"]),
        "ddd": ("training", ["Yoga"]),
        "eee": ("validation", ["Zumba", "Yoga"]),
        "fff": ("validation", ["Archery"]),
        "ggg": ("testing", []),
    }
    database = {
        name: {
            "subset": subset,
            "annotations": [{"label": c, "segment": [0.0, 1.0]} for c in labels],
        }
        for name, (subset, labels) in sets.items()
    }
    path = folder / "activity_net.v1-3.min.json"
    path.write_text(json.dumps({"database": database, "taxonomy": [], "version": "VERSION 1.3"}))
    for i, name in enumerate(sets):
        videos.put(folder / "videos" / f"v_{name}{('.mp4', '.mkv')[i % 2]}")


def charades(folder: Path, videos: Videos) -> None:
    """Charades_v1_{train,test}.csv, its classes, and Charades_v1_480/ID.mp4."""
    write(folder / "Charades_v1_classes.txt", *(f"c{i:03d} {c}" for i, c in enumerate(CLASSES)))
    header = (
        "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
    )
    rows = {
        "train": {"AAA11": "c001 0.00 1.50;c000 0.20 0.90;c001 2.00 3.00", "BBB22": "c002 0.0 1.0"},
        "test": {"CCC33": "", "DDD44": "c000 0.00 1.00"},
    }
    for split, videos_of in rows.items():
        lines = [
            f'{name},X,Room,5,6,Yes,"one, two",a;b,"it, too",{actions},3.0'
            for name, actions in videos_of.items()
        ]
        write(folder / f"Charades_v1_{split}.csv", header, *lines)
        videos.put(*(folder / f"Charades_v1_480/{name}.mp4" for name in videos_of))


def frame_lists(folder: Path, videos: Videos) -> None:
    """PySlowFast's lists with a line per frame, for Charades."""
    rows = {
        "train": {"AAA11": ['"0"', '"0,2"', '""'], "BBB22": ['"1"', '""', '""']},
        "val": {"CCC33": ['"2,1"', '""', '""']},
    }
    for split, videos_of in rows.items():
        lines = ["original_vido_id video_id frame_id path labels"]
        for v, (name, labels) in enumerate(videos_of.items()):
            for i, label in enumerate(labels):
                lines.append(f"{name} {v} {i} {name}/{name}-{i + 1:06d}.jpg {label}")
            videos.put_frames(folder / "frames" / name, f"{name}-{{:06d}}.jpg", 3)
        write(folder / f"{split}.csv", *lines)


def fcvid(folder: Path, videos: Videos) -> None:
    """Lists `folder num_frames label ...`, and folders of png frames."""
    rows = {"train": {"a/1": "0", "a/2": "2 1", "b/3": "1"}, "val": {"b/4": "0 2", "b/5": "1"}}
    for split, videos_of in rows.items():
        lines = (f"{name} 6 {labels}" for name, labels in videos_of.items())
        write(folder / f"fcvid_png_img_{split}_split.txt", *lines)
        for name in videos_of:
            videos.put_frames(folder / "frames" / name, "img_{:05d}.png")


def imagenet(folder: Path, videos: Videos) -> None:
    """{train,val}/WNID/*.JPEG"""
    for split, count in (("train", 3), ("val", 1)):
        for name in ("n01440764", "n01443537"):
            for i in range(count):
                videos.put_frames(folder / split / name, f"{name}_{i}_{{}}.JPEG", 1)


def class_folders(folder: Path, videos: Videos, per_class: int = 4) -> None:
    """CLASS/*.mp4, as anybody sorts videos."""
    for name in ("Opening a door", "closing"):
        videos.put(*(folder / name / f"clip {i}.mp4" for i in range(per_class)))


ALL: dict[str, Callable[[Path, Videos], None]] = {
    **{"kinetics": kinetics, "ssv1": ssv1, "ssv2": ssv2, "jester": jester, "hmdb51": hmdb51},
    **{"ucf101": ucf101, "activitynet": activitynet, "charades": charades, "fcvid": fcvid},
    "hvu": hvu,
    "imagenet": imagenet,
}


def names_of(paths: Iterable[str]) -> list[str]:
    """File names without folders."""
    return [Path(path).name for path in paths]
