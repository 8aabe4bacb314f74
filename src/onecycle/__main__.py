"""`python -m onecycle`, as the command `onecycle`."""

from .cli import main

if __name__ == "__main__":
    main()
