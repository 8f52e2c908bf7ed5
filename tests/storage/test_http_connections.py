"""Connections for http: which addresses are public, and who shares them."""

from __future__ import annotations

import os

import pytest

from lookalike.storage.addresses import is_public
from lookalike.storage.http_connections import pool


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::808:808", False),
        ("2002:808:808::", True),
        ("2002:a9fe:a9fe::1", False),
        ("2001:0:808:808::f7f7:f7f7", True),
        ("2001:0:808:808::80ff:fffe", False),  # the client is 127.0.0.1
        ("2001:0:7f00:1::f7f7:f7f7", False),
        ("::", False),
        ("::7f00:1", False),
        ("::808:808", False),
        ("::ffff:7f00:1", False),
        ("::ffff:0:808:808", False),
        ("fec0::1", False),
        ("feff::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("ff0e::1", False),
        ("100::1", False),
        ("2001:2::1", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("192.0.2.1", False),
        ("192.88.99.1", False),
        ("198.18.0.1", False),
        ("198.51.100.1", False),
        ("203.0.113.1", False),
        ("0.1.2.3", False),
        ("239.255.255.250", False),
        ("240.0.0.1", False),
        ("1.1.1.1", True),
        ("172.32.0.1", True),
        ("2a00:1450:4001::1", True),
    ],
)
def test_addresses_of_the_internet_are_public_and_others_are_not(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("private", [False, True])
def test_process_has_one_pool_and_a_forked_child_another(private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = pool(private=private)
    assert pool(private=private) is mine
    assert pool(private=not private) is not mine
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert pool(private=private) is not mine
