"""Speed and memory beside the peers, measured in one run; results in ``benchmarks/results``."""
