"""`python -m harness` is `farm`."""

from harness.cli.main import main

main()
