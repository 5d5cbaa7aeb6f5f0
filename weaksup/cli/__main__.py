"""``python -m weaksup.cli``, for machines whose PATH lacks the console script."""

from weaksup.cli import main

main()
