"""Long runs: kills, soak, many faults. `make campaign` starts them; `make test` has a short form of each."""
