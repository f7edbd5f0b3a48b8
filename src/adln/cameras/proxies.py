"""Who is asked through a proxy: nobody on the local network, whatever the environment names."""

import ipaddress
import os
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


def exempt(url: str) -> None:
    """Have this process ask at a local address without a proxy, in FFmpeg, too.

    FFmpeg looks at the environment only; the address is added to `no_proxy` there.
    """
    host = urlsplit(url).hostname or ""
    known = [one.strip() for one in os.environ.get("no_proxy", "").split(",") if one.strip()]
    if is_local(url) and host and host not in known:
        os.environ["no_proxy"] = ",".join([*known, host])
