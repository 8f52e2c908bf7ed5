"""Connections for http: which addresses are public, and who shares them."""

from __future__ import annotations

import os

import pytest

from lookalike.storage.http_connections import is_public, pool


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
