"""The benchmark suite: first-token and per-token latency, beside the machine's limits.

Each module holds one section of `results.Results`: the record, its definition, and its measurement.
"""
