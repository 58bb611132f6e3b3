"""What a process holds, and since when."""

import asyncio
from contextlib import ExitStack

from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.messaging.held import HeldMessages
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.virtual_time import run_virtually


def test_the_oldest_event_of_each_queue_is_known_of_messages_held_for_so_long() -> None:
    async def main() -> None:
        held = HeldMessages()
        with ExitStack() as stack:
            stack.enter_context(held.holding("one", [a_request(now_ms=50), a_request(now_ms=20)]))
            stack.enter_context(held.holding("one", [a_request(now_ms=30)]))
            stack.enter_context(held.holding("two", [a_request(now_ms=40)]))
            stack.enter_context(held.holding("three", []))
            await SYSTEM_CLOCK.sleep(10)
            stack.enter_context(held.holding("two", [a_request(now_ms=10)]))
            assert held.oldest_ms(held_for_s=10) == {"one": 20, "two": 40}
            assert held.oldest_ms(held_for_s=0) == {"one": 20, "two": 10}
            assert held.oldest_ms(held_for_s=10.1) == {}
        assert held.oldest_ms(held_for_s=0) == {}

    run_virtually(main)


def test_what_ends_in_an_error_is_held_no_more() -> None:
    async def main() -> None:
        held = HeldMessages()
        try:
            with held.holding("one", [a_request()]):
                raise ZeroDivisionError
        except ZeroDivisionError:
            await asyncio.wait([asyncio.ensure_future(SYSTEM_CLOCK.sleep(1))])
        assert held.oldest_ms(held_for_s=0) == {}

    run_virtually(main)
