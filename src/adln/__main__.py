"""`python -m adln` is `adln`."""

from adln.cli.main import main

main()
