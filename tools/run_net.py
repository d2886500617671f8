#!/usr/bin/env python3
"""Train and test a network: run_net.py --cfg A.yaml [B.yaml …] [--opts] KEY VALUE …"""

from slowfast.config import parse_run_args


def main() -> None:
    """The command line of a run; --help and mistakes in it are answered before torch is loaded."""
    cfgs, shards = parse_run_args(None, "Train and test a network.")
    from slowfast.engine.processes.launch import launch
    from slowfast.engine.run import run

    launch(run, cfgs, shards)


if __name__ == "__main__":
    main()
