"""What a frame-flexible network is worth at frame counts that it was not trained for.

It is tested under every rule of FFN.ANY_FRAME, beside plain networks trained for those counts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.engine.files.checkpoint import Checkpoints
from slowfast.engine.studies.frame_counts import check_one_size
from slowfast.engine.studies.members import Member, run_members, variant
from slowfast.models.flexible import RULES
from slowfast.report.any_frame import any_frame_summary, any_frame_table
from slowfast.report.tables import to_markdown


@dataclass(frozen=True)
class AnyFrameStudy:
    """The study of one flexible configuration, in `folder/seed_N/`.

    `separate` are frame counts for which a plain network is trained too.  Raises ValueError if the
    configuration is not flexible, is of several sizes, or one of them is not tested.
    """

    cfg: CfgNode
    seeds: Sequence[int]
    separate: Sequence[int]
    folder: Path

    def __post_init__(self) -> None:
        if not self.cfg.FFN.ENABLE:
            raise ValueError("the study is one of a flexible network; set FFN.ENABLE True")
        check_one_size(self.cfg)
        if untested := set(self.separate) - set(self.cfg.TEST.NUM_FRAMES):
            raise ValueError(f"TEST.NUM_FRAMES lacks the counts to compare at: {sorted(untested)}")

    def run(self, processes: int) -> None:
        """Train and test what is not there yet, `processes` networks at a time."""
        plain = [self.plain(seed, t) for seed in self.seeds for t in self.separate]
        trained = [*map(self.flexible, self.seeds), *plain]
        run_members(sorted(trained, key=lambda member: -member.work), processes)
        run_members([self.rule(seed, r) for seed in self.seeds for r in RULES[1:]], processes)

    def flexible(self, seed: int) -> Member:
        """The network, tested by the rule of the paper."""
        return self._member("ffn", seed, "FFN.ANY_FRAME", "nearest")

    def plain(self, seed: int, num_frames: int) -> Member:
        """The network trained for one frame count alone."""
        overrides = ["FFN.ENABLE", False, "DATA.NUM_FRAMES", num_frames]
        return self._member(f"plain_{num_frames}", seed, *overrides)

    def rule(self, seed: int, rule: str) -> Member:
        """Another test of the trained flexible network; ValueError if that is not there."""
        checkpoints = self.flexible(seed).folder / "checkpoints"
        found = Checkpoints(checkpoints).newest()
        if found is None:
            raise ValueError(f"no checkpoint in {checkpoints}; train that network first")
        weights = ["TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", str(found[0])]
        return self._member(f"ffn_{rule}", seed, *weights, "FFN.ANY_FRAME", rule)

    def _member(self, name: str, seed: int, *overrides: object) -> Member:
        return variant(self.cfg, name, overrides, seed, self.folder / f"seed_{seed}")

    def markdown(self, command: str) -> str:
        """The results of all finished networks: a sentence, the table, and how it was made."""
        rules = {
            rule: [_result(self.rule(seed, rule)) for seed in self.seeds] for rule in RULES[1:]
        }
        rules = {"nearest": [_result(self.flexible(seed)) for seed in self.seeds], **rules}
        separate = {t: [_result(self.plain(s, t)) for s in self.seeds] for t in self.separate}
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        clips = f"{self.cfg.FFN.RECALIBRATION_CLIPS} clips to recalibrate"
        made = f"{clips}; {seeds}. Made by `{command}`."
        table = to_markdown(any_frame_table(rules, separate)).strip()
        sentence = [any_frame_summary(rules, separate)] if separate else []
        return "\n\n".join([*sentence, table, made])


def _result(member: Member) -> dict:
    return json.loads((member.folder / "results/test.json").read_text())
