"""HTTP proxies: never used for the local network, whatever the environment says."""

import ipaddress
import os
import urllib.request
from urllib.parse import urlsplit

# RFC 6762, RFC 8375, and suffixes that no public server has.
_LOCAL_ENDINGS = (".local", ".lan", ".home", ".home.arpa", ".internal", ".localdomain")


def is_local(url: str) -> bool:
    """Whether an address is on this machine or the local network, by its IP address or name."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_ENDINGS)
    return address.is_private or address.is_loopback or address.is_link_local


def proxies_for(url: str) -> urllib.request.ProxyHandler:
    """A proxy handler for an opener of `urllib.request` that connects to this address only.

    A proxy cannot reach local cameras and devices, and must not see their pictures and passwords.
    For other addresses `http_proxy`, `https_proxy` and `no_proxy` apply.
    """
    return urllib.request.ProxyHandler({} if is_local(url) else None)


def exempt(url: str) -> None:
    """Make this process, including FFmpeg, connect to a local address without a proxy.

    FFmpeg only reads the environment, so the address is added to `no_proxy`. Where both are set,
    `NO_PROXY` no longer counts, so its addresses are taken over. "*", for all, only counts alone.
    """
    host = urlsplit(url).hostname or ""
    stated = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    known = [one.strip() for one in stated.split(",") if one.strip()]
    if is_local(url) and host and host not in known and known != ["*"]:
        os.environ["no_proxy"] = ",".join([*known, host])
