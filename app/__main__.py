"""`python -m app` is `twinserve serve`."""

import sys

from app.cli import main

if __name__ == "__main__":  # spawned workers import this module again
    sys.exit(main())
