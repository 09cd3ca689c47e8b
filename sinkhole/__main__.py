"""``python -m sinkhole`` is the ``sinkhole`` command."""

from sinkhole.cli import main

if __name__ == "__main__":
    main()
