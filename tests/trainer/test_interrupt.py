from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

import pytest

from trainer.interrupt import SIGNALS, deferred_interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_the_second_acts(number):
    with deferred_interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), number)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_a_signal_that_comes_twice_at_once_can_count_as_one():
    with deferred_interruption(grace=3600) as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested
        # An hour later; waiting for a short grace would fail where the machine is busy.
        interruption._since -= 3600
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_handlers_are_put_back_even_after_an_error():
    before = [signal.getsignal(number) for number in SIGNALS]
    with suppress(ZeroDivisionError), deferred_interruption():
        assert [signal.getsignal(number) for number in SIGNALS] != before
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_in_another_thread_nothing_is_held_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    seen = []

    def work():
        with deferred_interruption() as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before[0])]
