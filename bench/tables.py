"""Tables on standard output."""

import sys
from collections.abc import Sequence


def write_table(*rows: Sequence[str]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *values in rows:
        cells = [name.ljust(widths[0]), *(value.rjust(width) for value, width in zip(values, widths[1:], strict=True))]
        sys.stdout.write("  ".join(cells) + "\n")
    sys.stdout.write("\n")
