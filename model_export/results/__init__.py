"""What docs/results.md is made with: floors that learn nothing, and commands that put them beside bundles."""
