"""The benchmark of a step's cost beyond E and D."""
