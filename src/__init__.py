"""Photographs in, submission out: folds → data → train → bundle → predict → ensemble."""

import warnings

# Notices of libraries to each other, which nobody who reads a notebook could act on.
warnings.filterwarnings("ignore", message="IProgress not found")
warnings.filterwarnings("ignore", message="`torch.jit.script`")
warnings.filterwarnings("ignore", message="Your generator is empty")  # fold=all: no hold-out
