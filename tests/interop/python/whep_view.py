"""Watches a room by WHEP for some frames, and prints what came as JSON: whep_view.py URL TOKEN FRAMES"""

import asyncio
import json
import sys

import common
from aiortc import RTCPeerConnection

PATIENCE_SECONDS = 30


async def main(url: str, token: str, frames: int) -> None:
    seen = {"video_frames": 0, "audio_frames": 0, "width": 0, "height": 0}
    pictures: set[int] = set()
    enough = asyncio.Event()
    tasks = []
    peer = RTCPeerConnection()

    async def watch(track) -> None:
        while True:
            frame = await track.recv()
            seen[f"{track.kind}_frames"] += 1
            if track.kind == "video":
                seen["width"], seen["height"] = frame.width, frame.height
                pictures.add(hash(bytes(frame.planes[0])))
                if seen["video_frames"] >= frames and seen["audio_frames"] > 0:
                    enough.set()

    peer.on("track", lambda track: tasks.append(asyncio.ensure_future(watch(track))))
    peer.addTransceiver("audio", direction="recvonly")
    peer.addTransceiver("video", direction="recvonly")
    location = await common.negotiate(peer, url, token)
    try:
        await asyncio.wait_for(enough.wait(), PATIENCE_SECONDS)
    except asyncio.TimeoutError:
        pass
    seen["distinct_pictures"] = len(pictures)
    seen["deleted"] = await common.delete(location, token)
    for task in tasks:
        task.cancel()
    await peer.close()
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
