"""Connect to a host within a time, and only to addresses of the public internet unless others are allowed."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from typing import Any

from lookalike.failures import ImageError
from lookalike.storage import bounded

Address = tuple[socket.AddressFamily, tuple[Any, ...]]

# Ranges that are not of the internet, of which Python 3.11's `is_global` does not know all.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "100.64.0.0/10",  # shared by the customers of a provider; 100.100.100.200: metadata of Alibaba's cloud
        "168.63.129.16/32",  # Azure's platform, of every virtual machine
        "169.254.0.0/16",  # link-local; 169.254.169.254: metadata of most clouds
        "192.0.0.0/24",  # protocols; 192.0.0.192: metadata of Oracle's cloud
        "192.88.99.0/24",  # the former relays of 6to4
        "198.18.0.0/15",  # benchmarks
        "240.0.0.0/4",  # reserved, and the broadcast
        "2001::/23",  # protocols
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
# All that is given to networks of the internet; the rest, such as fec0::/10 or 64:ff9b:1::/48, is for other uses.
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 address


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet; an IPv4 one inside an IPv6 one is checked too."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _embedded(ip)
        if inner:
            return all(_is_public(one) for one in inner)
    return _is_public(ip)


def _embedded(ip: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 one leads to."""
    if ip.ipv4_mapped:
        return (ip.ipv4_mapped,)
    if ip.sixtofour:
        return (ip.sixtofour,)
    if ip.teredo:
        return ip.teredo
    if ip in _TRANSLATED:
        return (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF),)
    return ()


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if ip.version == 6 and ip not in _GLOBAL_IPV6:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def connect(host: str, port: int, seconds: float, *, private: bool) -> socket.socket:
    """Return a connection to one of the host's addresses; the look-up of the name counts as part of `seconds`.

    Raises ImageError.
    """
    end = time.monotonic() + seconds
    try:
        found = bounded.call(lambda: _look_up(host, port), seconds, "look-up of names")
        # The address is checked that is connected to: a second look-up of the name could give another one.
        allowed = [one for one in found if private or is_public(str(one[1][0]))]
        if not allowed:
            raise ImageError("bad_uri", "its host is a private address; see images.allow_private_addresses")
        return _first_that_answers(allowed, end)
    except TimeoutError:
        raise ImageError("timeout", f"no connection to its host after {seconds:.3g} s") from None
    except UnicodeError:  # a label that IDNA refuses
        raise ImageError("bad_uri", "the name of its host is not valid") from None
    except socket.gaierror as error:
        raise ImageError("server_error", f"the name of its host cannot be looked up: {error.strerror}") from None
    except OSError as error:
        raise ImageError("server_error", f"no connection to its host: {error.strerror}") from None


def _look_up(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _first_that_answers(addresses: list[Address], end: float) -> socket.socket:
    """Try the addresses in turn; each gets an equal share of the time left, so that dead ones do not use it up."""
    for left in range(len(addresses), 0, -1):
        family, address = addresses[-left]
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(max(0.001, (end - time.monotonic()) / left))
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            if left == 1:
                raise
            continue
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    raise OSError(0, "it has no address")
