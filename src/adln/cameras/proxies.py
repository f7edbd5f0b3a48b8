"""Who is asked through a proxy: nobody on the local network, whatever the environment names."""

import ipaddress
import urllib.request
from urllib.parse import urlsplit

# RFC 6762, RFC 8375, and names that no public server has.
_LOCAL_ENDINGS = (".local", ".lan", ".home", ".home.arpa", ".internal", ".localdomain")


def is_local(url: str) -> bool:
    """Whether an address is of this machine or the local network, by its number or name."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_ENDINGS)
    return address.is_private or address.is_loopback or address.is_link_local


def proxies_for(url: str) -> urllib.request.ProxyHandler:
    """For an opener of `urllib.request` that asks at this address only.

    A proxy cannot reach cameras and other devices here, or would be shown their pictures and
    passwords. Elsewhere `http_proxy`, `https_proxy` and `no_proxy` hold.
    """
    return urllib.request.ProxyHandler({} if is_local(url) else None)
