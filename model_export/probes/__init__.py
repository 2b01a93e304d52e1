"""Golden probes: items drawn or written for the project, of no data set, each with its own trap for a preparation."""
