"""`python -m enfold` is the command `enfold`."""

from enfold.cli import main

main()
