"""What FlowForge costs, next to what the machine can do. `python -m benchmarks --help`."""
