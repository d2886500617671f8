"""`python -m slowfast COMMAND ...`, the same as the command `slowfast`."""

from slowfast.cli import main

if __name__ == "__main__":  # processes that a run starts import this file again
    main()
