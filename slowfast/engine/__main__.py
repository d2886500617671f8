"""`python -m slowfast.engine --cfg A.yaml KEY VALUE …`, the same as tools/run_net.py."""

from slowfast.engine.run import main

main()
