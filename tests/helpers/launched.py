"""A program for tests to start like a training: each process tells who it is, in a file.

python launched.py FOLDER [--shard_id I --num_shards N --init_method URL]
"""

import json
from pathlib import Path

import torch

from slowfast.config import CfgNode, get_cfg
from slowfast.engine.processes.launch import launch
from slowfast.engine.processes.world import World


def tell(cfg: CfgNode, world: World) -> None:
    """Write rank, size, the sum of all ranks and the origin to OUTPUT_DIR."""
    told = [world.rank, world.size, int(world.sum(torch.tensor(world.rank))), world.origin]
    Path(cfg.OUTPUT_DIR, f"{world.rank}.json").write_text(json.dumps(told))


def told(folder: Path) -> list[list]:
    """What the processes have told, in rank order."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


if __name__ == "__main__":
    from argparse import ArgumentParser

    from slowfast.config import Shards

    parser = ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--num_gpus", type=int, default=0)
    parser.add_argument("--shard_id", type=int, default=0)
    parser.add_argument("--num_shards", type=int, default=1)
    parser.add_argument("--init_method", default="")
    args = parser.parse_args()
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", args.folder, "NUM_GPUS", args.num_gpus, "DIST.TIMEOUT", 2])
    launch(tell, [cfg], Shards(args.shard_id, args.num_shards, args.init_method))
