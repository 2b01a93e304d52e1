"""Coverage-guided fuzzing of everything that reads bytes of a stranger. Nothing uses this package; `make fuzz` runs it."""
