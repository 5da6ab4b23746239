#!/usr/bin/env python3
"""The report of results as one page; ``paper/report/`` makes it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from paper.report.page import main  # noqa: E402
from pose import cli  # noqa: E402

if __name__ == "__main__":
    sys.exit(cli.run_main(main))
