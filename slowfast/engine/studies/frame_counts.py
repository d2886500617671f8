"""Train one network per frame count and one flexible network, test all everywhere, report.

The comparison behind the Temporal Frequency Deviation figure of FFN (arXiv:2303.14817, figure 1),
for any configuration with FFN.ENABLE: its plain twins differ in nothing but the frame count.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from slowfast.config import frame_counts, trained_sizes
from slowfast.datasets import DATASETS
from slowfast.engine.studies.members import Member, dataset_of, records, variant
from slowfast.engine.test import load_test_weights
from slowfast.models import build_model
from slowfast.report import Cost, CurvePoint, Report, Run, costs


def members(cfg: CfgNode, seed: int, folder: Path) -> list[Member]:
    """The flexible network of `cfg` and a plain twin per trained count, most work first.

    Raises ValueError if `cfg` is not of a flexible network, or is of several sizes.
    """
    if not cfg.FFN.ENABLE:
        raise ValueError("a study compares a flexible network with plain ones; set FFN.ENABLE True")
    check_one_size(cfg)
    variants = {"ffn": []} | {
        f"plain_{t}": ["FFN.ENABLE", False, "DATA.NUM_FRAMES", t] for t in frame_counts(cfg)
    }
    found = [variant(cfg, name, overrides, seed, folder) for name, overrides in variants.items()]
    return sorted(found, key=lambda member: -member.work)


def check_one_size(cfg: CfgNode) -> None:
    """ValueError where a study of frame counts alone would find sizes among its results."""
    if trained_sizes(cfg) or cfg.TEST.SIZES:
        raise ValueError(
            f"FFN.SIZES={list(cfg.FFN.SIZES)} and TEST.SIZES={list(cfg.TEST.SIZES)}: the study is "
            "one of frame counts alone, set both to []; tools/size_study.py is one of sizes"
        )


def build_report(by_seed: dict[int, list[Member]], title: str, commands: Sequence[str]) -> Report:
    """The report of finished members, the same ones for every seed; costs are measured here."""
    first, *_ = by_seed.values()
    ffn, high = first[:2]
    # Plain twins are the same network at run time: what one costs, all cost.
    measured = {member.cfg.FFN.ENABLE: _costs(member) for member in (ffn, high)}
    runs = tuple(
        Run.from_tests(
            [member.folder / "results/test.json" for member in seeds],
            costs=measured[seeds[0].cfg.FFN.ENABLE],
            curves=[point for member in seeds for point in _curve(member)],
        )
        for seeds in zip(*by_seed.values(), strict=True)
    )
    return Report(
        title=title,
        dataset=dataset_of(ffn.cfg),
        rates=frame_counts(ffn.cfg),
        tested=tuple(runs[0].accuracy),
        runs=runs,
        seeds=tuple(by_seed),
        commands=tuple(commands),
        cost_note=f"costs of one clip in 32-bit floats, CPU threads: {torch.get_num_threads()}.",
    )


def _costs(member: Member) -> dict[int, Cost]:
    model = build_model(member.cfg)
    load_test_weights(model, member.cfg)
    tested = member.cfg.TEST.NUM_FRAMES or frame_counts(member.cfg)
    return costs(model, tested, member.cfg.DATA.TEST_CROP_SIZE)


def _curve(member: Member) -> Iterator[CurvePoint]:
    metric = DATASETS.get(member.cfg.TRAIN.DATASET).metric
    for record in records(member, "val_epoch"):
        for rate in frame_counts(member.cfg):
            yield CurvePoint(record["epoch"], rate, record[f"{metric}_{rate}"])
