"""`make mutants`: breaks the critical modules in small ways, one at a time, and runs their unit tests on each."""
