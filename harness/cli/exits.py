"""Exit codes of the command line (documented in the README)."""

MEASURED = 0
INCOMPLETE = 1
USAGE = 2
NO_DEVICE = 3
TARGET_MISSED = 4
INTERRUPTED = 130
