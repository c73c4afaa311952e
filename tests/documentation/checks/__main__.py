"""Check all documents: ``python -m tests.documentation.checks`` prints each mistake, and fails when there is one."""

from __future__ import annotations

import sys

from tests.documentation.checks.code_blocks import invalid_code
from tests.documentation.checks.dictionary import unknown_words
from tests.documentation.checks.links import broken_links
from tests.documentation.checks.tables import nameless_columns
from tests.documents import ROOT, documents

OF_TESTS = ROOT / "tests" / "example"
"""Documents of a plugin that is installed in tests only."""
CHECKS = (broken_links, unknown_words, invalid_code, nameless_columns)


def main() -> int:
    """Print the mistakes of all documents; return the exit status."""
    checked = [document for document in documents() if not document.is_relative_to(OF_TESTS)]
    problems = [problem for document in checked for check in CHECKS for problem in check(document)]
    for problem in sorted(problems):
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
