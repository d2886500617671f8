"""Early exits of two networks on the same videos: gates over frames, and rates of a flexible one.

Both are trained, their thresholds chosen on validation videos, and tested on others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast.datasets import build_loader
from slowfast.datasets.dataset import VideoCache, VideoDataset
from slowfast.engine.exits.networks import RateExits, exit_network
from slowfast.engine.exits.videos import infer_videos
from slowfast.engine.files.checkpoint import Checkpoints
from slowfast.engine.studies.members import Member, run_members, variant
from slowfast.engine.test import load_test_weights
from slowfast.models import build_model
from slowfast.models.exits import NEVER
from slowfast.report.exits import write_exit_report


@dataclass(frozen=True)
class ExitStudy:
    """The study in `folder`: of the flexible `rates`, and of FrameExit in its two stages.

    Thresholds are the most accurate for `budget`, a share of the GFLOPs without exits.  Gates are
    trained for each of `betas`, too, and tested at the thresholds of their training.  `trained` is
    a folder of a run of the flexible network whose weights serve, if they are there.
    """

    rates: CfgNode
    classifiers: CfgNode
    gates: CfgNode
    seed: int
    folder: Path
    budget: float = 0.45
    betas: Sequence[float] = ()
    trained: Path | None = None

    def run(self, processes: int = 1) -> None:
        """Train and test what is not there yet, `processes` networks at a time."""
        rates, classifiers = self.rates_member(), self.classifiers_member()
        together = [[rates, classifiers]] if rates.cfg.TRAIN.ENABLE else [[rates], [classifiers]]
        for members in together:
            run_members(members, processes)
        run_members([self.gates_member(), *map(self.gates_member, self.betas)], processes)

    def rates_member(self) -> Member:
        """The flexible network and the test of its rates as exits."""
        overrides = _exits(self.rates, "rates", self.budget)
        finished = self.trained and (self.trained / "results/test.json").exists()
        if finished and (path := _newest(self.trained)):
            overrides += ["TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", str(path)]
        return variant(self.rates, "rates", overrides, self.seed, self.folder)

    def classifiers_member(self) -> Member:
        """FrameExit without its gates."""
        return variant(self.classifiers, "classifiers", [], self.seed, self.folder)

    def gates_member(self, beta: float | None = None) -> Member:
        """The gates for a FRAME_EXIT.BETA, None the configuration's, and the test of them.

        Raises ValueError if the stage before is not there.
        """
        folder = self.classifiers_member().folder
        if (path := _newest(folder)) is None:
            raise ValueError(f"no checkpoint in {folder}; train the classifiers first")
        weights = ["TRAIN.CHECKPOINT_FILE_PATH", str(path)]
        overrides = [*weights, *_exits(self.gates, "gates", self.budget)]
        name = "gates" if beta is None else f"gates_{beta:g}"
        overrides += [] if beta is None else ["FRAME_EXIT.BETA", beta]
        return variant(self.gates, name, overrides, self.seed, self.folder)

    def records(self) -> list[dict[str, Any]]:
        """The exits.json of both networks, gates first, with the results of all `betas`."""
        gates, rates = _record(self.gates_member()), _record(self.rates_member())
        found = {beta: _record(self.gates_member(beta))["own"] for beta in self.betas}
        found[self.gates.FRAME_EXIT.BETA] = gates["own"]
        gates["betas"] = [{"beta": beta, **found[beta]} for beta in sorted(found)]
        return [gates, rates]

    def from_files(self, thresholds: Sequence[float]) -> dict[str, float]:
        """Frames decoded and milliseconds per test video, with decoding, with and without exits."""
        member = self.rates_member()
        model = build_model(member.cfg)
        load_test_weights(model, member.cfg)
        network = exit_network(model.eval(), member.cfg)
        dataset = build_loader(member.cfg, "exits").dataset
        dataset.cache = VideoCache(0)  # every frame that is counted is decoded
        torch.set_num_threads(1)
        return {
            **_measured(network, dataset, thresholds, ""),
            **_measured(network, dataset, [NEVER] * len(thresholds), "_no_exit"),
        }

    def write(self, out: Path, command: str) -> list[Path]:
        """The report of both; its paths, the page first."""
        records = self.records()
        files = self.from_files(records[1]["thresholds"])
        facts = {**self._facts(), **_read_facts(files)}
        return write_exit_report(records, out, "As few frames as it takes", facts, [command])

    def _facts(self) -> Mapping[str, str]:
        cfg = self.rates_member().cfg
        train, val, test = (
            len(build_loader(cfg, split).dataset) for split in ("train", "calibrate", "exits")
        )
        return {
            "Data": f"{cfg.TEST.DATASET}: {train} training videos, {val} to choose thresholds on, "
            f"{test} others to test",
            "Thresholds": f"the most accurate on validation videos for {100 * self.budget:g} % of "
            "the GFLOPs without exits",
            "Seed": str(self.seed),
        }


def _record(member: Member) -> dict[str, Any]:
    return json.loads((member.folder / "results/exits.json").read_text())


def _measured(
    network: RateExits, dataset: VideoDataset, thresholds: Sequence[float], tail: str
) -> dict[str, float]:
    found = infer_videos(network.at(thresholds), dataset)
    return {f"decoded{tail}": found.mean_decoded, f"ms{tail}": found.milliseconds}


def _read_facts(files: Mapping[str, float]) -> dict[str, str]:
    return {
        "From video files": (
            f"the rates decode {files['decoded']:.1f} frames of a video on average, without exits "
            f"{files['decoded_no_exit']:.1f}; {files['ms']:.1f} instead of "
            f"{files['ms_no_exit']:.1f} ms per video with decoding, batches of 32, one CPU thread"
        )
    }


def _exits(cfg: CfgNode, kind: str, share: float) -> list[object]:
    """Overrides that test exits of `kind` for a share of the GFLOPs without them."""
    of_kind = cfg.clone()
    of_kind.defrost()
    of_kind.TEST.EXIT = kind
    budget = share * exit_network(build_model(of_kind).eval(), of_kind).costs.most
    return ["TEST.EXIT", kind, "TEST.EXIT_BUDGET", float(f"{budget:.4g}")]


def _newest(folder: Path) -> Path | None:
    found = Checkpoints(folder / "checkpoints").newest()
    return found[0] if found else None
