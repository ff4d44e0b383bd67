"""``python -m pgmonkey`` is the ``pgmonkey`` command."""

from pgmonkey.cli.main import main

raise SystemExit(main())
