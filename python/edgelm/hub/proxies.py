"""Proxies, as the environment names them: http_proxy, https_proxy, ALL_PROXY and no_proxy."""

from __future__ import annotations

import urllib.parse
import urllib.request

from ..errors import DownloadError

_SCHEMES = ("http", "https")


def proxy_handler(url: str) -> urllib.request.ProxyHandler:
    """For one URL; DownloadError if the proxy that is named for it cannot be used."""
    named = urllib.request.getproxies()
    target = urllib.parse.urlsplit(url)
    every = named.pop("all", None)
    if every:  # which urllib does not know
        named = dict.fromkeys(_SCHEMES, every) | named
    proxy = named.get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        scheme = proxy.partition("://")[0].lower() if "://" in proxy else "http"
        if scheme not in _SCHEMES:
            raise DownloadError(
                f"{target.scheme}_proxy or ALL_PROXY names a proxy of the kind {scheme}, which "
                "edgelm cannot use, only http. Name one of those, let no_proxy list "
                f"{target.hostname}, or fetch the file by another program and give its path"
            )
    return urllib.request.ProxyHandler(
        {scheme: named[scheme] for scheme in _SCHEMES if scheme in named}
    )
