#!/usr/bin/env python3
"""Submit a training to SLURM, for people who would rather not write a batch script.

    python tools/submit.py --nodes 2 --gpus 8 --hours 24 --cfg A.yaml [KEY VALUE ...]

A task is a process with a GPU of its own.  What follows the options of this command is that of
tools/run_net.py.  Before its time is over the run saves and goes back into the queue.  Needs
submitit (pip install submitit); projects/ffn/slurm/train.sbatch does the same without it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast.command_line import exit_code
from slowfast.config import parse_run_args

WARNING_SECONDS = 300  # between the signal and the end of the time


class Training:
    """The command line of a run as a job that can be put back into the queue."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)

    def __call__(self) -> None:
        from slowfast.engine.run import main as run_main

        run_main(self.argv)

    def checkpoint(self, *_: object) -> object:
        """What submitit puts into the queue when the signal came before the training began."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the job; `words` is the command line of its run."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--nodes", type=int, default=1, help="machines; 1")
    parser.add_argument("--gpus", type=int, default=8, help="GPUs of a node, a process each; 8")
    parser.add_argument("--tasks", type=int, default=1, help="processes of a node with --gpus 0; 1")
    parser.add_argument("--cpus", type=int, default=8, help="cores of a process; 8")
    parser.add_argument("--hours", type=float, default=24, help="of the job; 24")
    parser.add_argument("--partition", help="partition of the cluster; its default otherwise")
    parser.add_argument("--name", default="slowfast-ffn", help="of the job; slowfast-ffn")
    parser.add_argument(
        "--sbatch",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="other options of sbatch, like account=vision constraint=a100",
    )
    parser.add_argument("--logs", help="folder of the job's files; OUTPUT_DIR/slurm otherwise")
    args, args.words = parser.parse_known_args(argv)
    for pair in args.sbatch:
        if "=" not in pair:
            parser.error(f"--sbatch {pair} must be KEY=VALUE, like account=vision")
    return args


def run(args: argparse.Namespace) -> int:
    # The signal that the training listens to.  submitit reads this as it is imported.
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"
    try:
        from submitit import AutoExecutor
    except ImportError as error:
        raise ValueError(
            "submitit is not installed: pip install submitit, or use "
            "projects/ffn/slurm/train.sbatch"
        ) from error
    # What is wrong is wrong before it waits in the queue.
    (cfg, *others), _ = parse_run_args(args.words)
    if others:
        raise ValueError("a job is one run: give one file to --cfg, and submit the others")
    if shutil.which("srun") is None:
        raise ValueError("no srun on this machine; submit from a machine of the SLURM cluster")
    executor = AutoExecutor(Path(args.logs or f"{cfg.OUTPUT_DIR}/slurm"), cluster="slurm")
    more = dict(pair.split("=", 1) for pair in args.sbatch)
    executor.update_parameters(
        name=args.name,
        nodes=args.nodes,
        tasks_per_node=args.gpus or args.tasks,
        cpus_per_task=args.cpus,
        gpus_per_node=args.gpus or None,
        timeout_min=round(60 * args.hours),
        slurm_partition=args.partition,
        slurm_signal_delay_s=WARNING_SECONDS,
        slurm_srun_args=["--kill-on-bad-exit=1"],
        slurm_additional_parameters={"requeue": True, **more},
    )
    job = executor.submit(Training(args.words))
    print(f"job {job.job_id}: log in {job.paths.stdout}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; what the user can mend ends in one sentence and exit code 2."""
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
