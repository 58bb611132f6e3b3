"""What stops the local stack, said so that the reader knows what to do."""

from collections.abc import Sequence


class StackError(Exception):
    """Something the stack needs is missing, taken or broken.

    Attributes:
        advice: what to do about it, one line each; may be empty.
    """

    def __init__(self, problem: str, *advice: str) -> None:
        super().__init__(problem)
        self.advice: Sequence[str] = advice

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  {line}" for line in self.advice)])
