"""The address that a server listens at: taken before the model is loaded, so that a mistake costs nothing."""

import errno
import ipaddress
import socket

from heirloom.errors import HeirloomError


def listen(host: str, port: int, others: bool) -> socket.socket:
    """Return a socket that listens at an address; port 0 is any that is free.

    `others`: other machines may reach it. Raises HeirloomError for an address that they would reach without that, one
    that is not this machine's, and a port that is taken.
    """
    address = resolved(host)
    if not others and not ipaddress.ip_address(address[4][0].partition("%")[0]).is_loopback:
        raise HeirloomError(
            f"--host {host}: other machines would reach it, and the token and all that is said would cross the network "
            "unencrypted: put a proxy with TLS before 127.0.0.1, or add --allow-others on a network that is yours alone"
        )
    listening = socket.socket(address[0], socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not barred by connections that have ended
    try:
        listening.bind((address[4][0], port, *address[4][2:]))
        listening.listen()
    except OSError as error:
        listening.close()
        raise HeirloomError(f"--host {host} --port {port}: {why_not(error, port)}") from None
    return listening


def resolved(host: str) -> tuple:
    """Return what the machine knows of a host's name, its first address. Raises HeirloomError for no name."""
    try:
        return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise HeirloomError(f"--host {host}: is no address of this machine ({error}): give 127.0.0.1") from None


def why_not(error: OSError, port: int) -> str:
    """Return why an address cannot be listened at, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by another program: give another --port, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return "this user may not listen at so low a port: give one above 1023"
    return f"cannot be listened at ({error.strerror}): give 127.0.0.1 and a free port"


def url_of(listening: socket.socket) -> str:
    """Return the address as clients write it."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
