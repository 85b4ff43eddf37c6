"""A port that is held is given to nobody but to who names it."""

from __future__ import annotations

import socket
import sys

import pytest

from processor.devkit.held_ports import HeldPorts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a second socket listen on a port that is bound")


def test_a_held_port_refuses_connections_until_somebody_listens_and_again_afterwards() -> None:
    with HeldPorts(3) as held:
        assert len(set(held.numbers)) == 3
        for _ in range(2):  # a process that is restarted
            for number in held.numbers:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", number), 1)
                with socket.create_server(("127.0.0.1", number)), socket.create_connection(("127.0.0.1", number), 1) as link:
                    assert link.getsockname()[1] != number


def test_a_held_port_is_refused_to_who_does_not_know_of_it() -> None:
    with HeldPorts() as held, HeldPorts() as other, socket.socket() as stranger:
        assert held.numbers != other.numbers
        with pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", held.numbers[0]))  # without SO_REUSEADDR
        held.close()
        stranger.bind(("127.0.0.1", held.numbers[0]))
