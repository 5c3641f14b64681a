"""Photographs in, submission out: folds → data → train → bundle → predict → ensemble."""

import os
import warnings

# Threads that wait for each other in a loop take the cores from the loader processes: an epoch then
# takes up to four times as long. OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Notices of libraries to each other, which nobody who reads a notebook could act on.
warnings.filterwarnings("ignore", message="IProgress not found")
warnings.filterwarnings("ignore", message="`torch.jit.script`")
warnings.filterwarnings("ignore", message="Your generator is empty")  # fold=all: no hold-out
