"""curl commands as requests: no machine has to have curl for its examples to be tried."""

import shlex
from dataclasses import dataclass, field


@dataclass
class Request:
    """What a curl command asks for."""

    url: str = ""
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None


def requests(shell: str) -> list[Request]:
    """The requests of the curl commands in a piece of shell that holds nothing else.

    Raises:
        ValueError: another command, or an option that is not known here.
    """
    words = shlex.split(shell.replace("\\\n", " "), comments=True)
    starts = [place for place, word in enumerate(words) if word == "curl"]
    if words and starts[:1] != [0]:
        raise ValueError(f"{words[0]} is not curl")
    return [_request(words[start + 1 : end]) for start, end in zip(starts, [*starts[1:], len(words)], strict=True)]


def _request(words: list[str]) -> Request:
    request = Request()
    rest = iter(words)
    for word in rest:
        match word:
            case "-X":
                request.method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(":")
                request.headers[name] = value.strip()
            case "-d":
                request.body = next(rest)
            case _ if word.startswith("-") or request.url:
                raise ValueError(f"curl {word} is not known here")
            case _:
                request.url = word
    return request
