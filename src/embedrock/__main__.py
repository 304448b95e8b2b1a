"""`python -m embedrock` is the command `embedrock`."""

from embedrock.faces.cli import main

main()
