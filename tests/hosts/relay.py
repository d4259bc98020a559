"""A TCP relay that holds every piece of data back for a while, each way.

python relay.py LISTEN TARGET SECONDS
"""

from __future__ import annotations

import asyncio
import sys


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    clock = asyncio.get_running_loop().time

    async def forward() -> None:
        while True:
            due, data = await held.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    sender = asyncio.create_task(forward())
    try:
        while data := await reader.read(65536):
            held.put_nowait((clock() + delay, data))
    except ConnectionError:
        pass
    held.put_nowait((clock() + delay, b""))
    await asyncio.gather(sender, return_exceptions=True)


async def main(listen: str, target: str, delay: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay)
        there, back = await asyncio.open_connection(*target.rsplit(":", 1))
        await asyncio.gather(pump(reader, back, delay), pump(there, writer, delay))

    server = await asyncio.start_server(serve, *listen.rsplit(":", 1))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
