"""What a mutant changes, out of a unified difference. Pure."""


def changed(diff: str) -> tuple[str, str]:
    """The lines that were removed and those that were added, on one line each."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    removed, added = ([line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+")
    return " ".join(removed), " ".join(added)
