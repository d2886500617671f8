#!/usr/bin/env python3
"""Train and test a network: run_net.py --cfg A.yaml [B.yaml …] [--opts] KEY VALUE …"""

from slowfast.engine.run import main

if __name__ == "__main__":
    main()
