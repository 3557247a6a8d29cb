"""Publishes a moving picture and a tone by WHIP until it is ended: whip_publish.py URL TOKEN"""

import asyncio
import math
import sys
from array import array

import common
from aiortc import RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from av import AudioFrame, VideoFrame

WIDTH, HEIGHT = 320, 240


class MovingBar(VideoStreamTrack):
    """A bright bar that moves a little with every frame."""

    count = 0

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        luma, *chroma = frame.planes
        left = (self.count * 7) % (WIDTH - 32)
        row = bytearray(b"\x28" * luma.line_size)
        row[left : left + 32] = b"\xd8" * 32
        luma.update(bytes(row) * HEIGHT)
        for plane in chroma:
            plane.update(b"\x80" * plane.buffer_size)
        self.count += 1
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """440 Hz."""

    async def recv(self) -> AudioFrame:
        frame = await super().recv()  # silence, at the right moment
        phase = 2 * math.pi * 440 / frame.sample_rate
        samples = (int(8000 * math.sin(phase * (frame.pts + n))) for n in range(frame.samples))
        frame.planes[0].update(array("h", samples).tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
        return frame


async def main(url: str, token: str) -> None:
    peer = RTCPeerConnection()
    peer.addTransceiver(Tone(), direction="sendonly")
    peer.addTransceiver(MovingBar(), direction="sendonly")
    await common.negotiate(peer, url, token)
    failed = asyncio.Event()
    peer.on("connectionstatechange", lambda: failed.set() if peer.connectionState == "failed" else None)
    await failed.wait()
    raise SystemExit("the connection failed")


asyncio.run(main(*sys.argv[1:]))
