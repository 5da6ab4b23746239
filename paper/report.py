#!/usr/bin/env python3
"""The report of results as one page; ``paper/report/`` makes it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from paper.report.page import main
from pose import cli

if __name__ == "__main__":
    sys.exit(cli.run_main(main))
