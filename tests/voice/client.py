"""A voice client on aiortc, for tests: joins, sends a tone, and prints what it hears as JSON, a line a second.

Arguments: URL of the voice socket, token, seconds, frequency of the tone in Hz, and `relay` to go through TURN servers only.
"""

import asyncio
import fractions
import json
import math
import sys

import websockets
from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import AudioStreamTrack
from av import AudioFrame

RATE = 48000
SAMPLES = 960


class Tone(AudioStreamTrack):
    """A sine wave at a third of the full scale."""

    def __init__(self, frequency):
        super().__init__()
        self.frequency = frequency
        self.sent = 0
        self.began = None

    async def recv(self):
        loop = asyncio.get_event_loop()
        self.began = self.began or loop.time()
        await asyncio.sleep(max(0, self.began + self.sent / RATE - loop.time()))
        frame = AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        step = 2 * math.pi * self.frequency / RATE
        samples = (int(11000 * math.sin(step * (self.sent + i))) for i in range(SAMPLES))
        frame.planes[0].update(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.sent, fractions.Fraction(1, RATE)
        self.sent += SAMPLES
        return frame


async def listen(track, heard):
    """Notes how loud each frame of a track is."""
    while True:
        frame = await track.recv()
        samples = memoryview(bytes(frame.planes[0])).cast("h")
        heard["frames"] += 1
        heard["loudest"] = max(heard["loudest"], max(samples))


async def main(url, token, seconds, frequency, policy):
    heard = {"frames": 0, "loudest": 0}
    tasks = []
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps({"type": "authenticate", "data": {"token": token}}))
        frames, answer = [], asyncio.get_event_loop().create_future()
        joined = asyncio.get_event_loop().create_future()

        async def read():
            async for text in socket:
                frame = json.loads(text)
                frames.append(frame)
                if frame["type"] == "joined":
                    joined.set_result(frame["data"])
                if frame.get("id") == 1:
                    answer.set_result(frame)

        tasks.append(asyncio.ensure_future(read()))
        room = await asyncio.wait_for(joined, 10)
        servers = [RTCIceServer(**server) for server in room["ice_servers"]]
        pc = RTCPeerConnection(RTCConfiguration(iceServers=servers, iceTransportPolicy=policy))
        pc.on("track", lambda track: tasks.append(asyncio.ensure_future(listen(track, heard))))
        pc.addTransceiver(Tone(frequency), direction="sendonly")
        for _ in room["slots"]:
            pc.addTransceiver("audio", direction="recvonly")
        await pc.setLocalDescription(await pc.createOffer())
        await socket.send(json.dumps({"type": "offer", "id": 1, "data": {"sdp": pc.localDescription.sdp}}))
        frame = await asyncio.wait_for(answer, 10)
        if frame["type"] != "answer":
            sys.exit(json.dumps(frame))
        await pc.setRemoteDescription(RTCSessionDescription(frame["data"]["sdp"], "answer"))
        for _ in range(seconds):
            await asyncio.sleep(1)
            for task in tasks:
                if task.done():
                    task.result()
            speaking = [f["data"] for f in frames if f["type"] == "speaking"]
            print(json.dumps({"state": pc.connectionState, "speaking": speaking, **heard}), flush=True)
    for task in tasks:
        task.cancel()
    await pc.close()


policy = RTCIceTransportPolicy.RELAY if "relay" in sys.argv[5:] else RTCIceTransportPolicy.ALL
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), policy))
