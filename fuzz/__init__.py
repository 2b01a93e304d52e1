"""Coverage-guided fuzzing of all that reads bytes of a stranger: `make fuzz`. Nothing else uses this package."""
