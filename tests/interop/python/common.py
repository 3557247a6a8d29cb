"""What the publisher and the viewer share: HTTP, and ICE on loopback."""

import asyncio
import urllib.request

import aioice.ice

# aioice leaves loopback out, and a machine that runs tests may have no other address.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


def _post(url: str, token: str, offer: str) -> tuple[str, str]:
    request = urllib.request.Request(
        url,
        data=offer.encode(),
        headers={"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 201, response.status
        return response.read().decode(), response.headers["Location"]


async def negotiate(peer, url: str, token: str) -> str:
    """Offers once, takes the answer, and gives the session's address."""
    from aiortc import RTCSessionDescription

    await peer.setLocalDescription(await peer.createOffer())
    answer, location = await asyncio.to_thread(_post, url, token, peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    base = url.split("/v1/")[0]
    return location if location.startswith("http") else base + location


async def delete(location: str, token: str) -> int:
    """Ends the session; gives the HTTP status."""
    request = urllib.request.Request(location, headers={"Authorization": f"Bearer {token}"}, method="DELETE")

    def send() -> int:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status

    return await asyncio.to_thread(send)
