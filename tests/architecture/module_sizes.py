"""Module sizes: at most 300 lines each; between 300 and 400 is reported, above 400 fails."""

import sys
from pathlib import Path

WARN_ABOVE = 300
FAIL_ABOVE = 400


def oversized(folders: list[Path], *, above: int) -> list[tuple[Path, int]]:
    """Python modules below `folders` with more than `above` lines, longest first."""
    sizes = [
        (path, len(path.read_text(encoding="utf-8").splitlines()))
        for folder in folders
        for path in folder.rglob("*.py")
    ]
    return sorted((entry for entry in sizes if entry[1] > above), key=lambda entry: -entry[1])


def main(folders: list[str]) -> int:
    """Report on standard error; 1 if a module is too long."""
    found = oversized([Path(folder) for folder in folders], above=WARN_ABOVE)
    for path, lines in found:
        verdict = "too long" if lines > FAIL_ABOVE else "getting long"
        sys.stderr.write(f"{path}: {lines} lines, {verdict} (at most {WARN_ABOVE}; {FAIL_ABOVE} fails)\n")
    return int(any(lines > FAIL_ABOVE for _, lines in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
