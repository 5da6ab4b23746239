"""POSE, Prompt Once, Segment Everything: the library under the scripts at the top of the repository.

Data flows one way through its rooms: scans -> prompts -> segmenters -> scores -> results -> figures, and ``runs`` takes
a volume, or many, all the way.
"""

import os

__version__ = "0.1.0"

# PyTorch's CPU threads spin while they wait, and two runs that share a machine then take many times as long; how long
# they spin must stand in the environment before torch is imported. libgomp and the LLVM and Intel runtimes in turn.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
    os.environ["GOMP_SPINCOUNT"] = "1000"
if not {"KMP_BLOCKTIME", "OMP_WAIT_POLICY"} & set(os.environ):
    os.environ["KMP_BLOCKTIME"] = "1"
