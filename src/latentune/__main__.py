"""`python -m latentune` is the command `latentune`."""

from .pipelines.commands.main import main

if __name__ == "__main__":
    main()
