"""What docs/results.md is made with: commands that put bundles and floors in one table."""
