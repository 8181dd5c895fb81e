"""Run decinv's command line: ``python main.py fit -c configs/decoder_inversion.yaml``."""

import sys

from decinv.cli import main

if __name__ == "__main__":
    sys.exit(main())
