"""`python -m benchmarks.soak`: mixed traffic of every model, with faults, for as long as is asked."""
