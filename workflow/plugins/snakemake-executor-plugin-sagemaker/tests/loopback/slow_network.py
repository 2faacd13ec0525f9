"""A network between a client and a server of this machine that is as slow as one asks for, connection by connection."""

import asyncio
import contextlib
import threading
from urllib.parse import urlsplit

_CHUNK = 1 << 14
_LATE = 0.25  # seconds


class SlowNetwork:
    """Passes connections on to `endpoint`; each carries so many bytes a second each way, and all comes `delay` s late.

    As with S3, several connections together are faster than one. A context manager; `url` leads through it.
    """

    def __init__(self, endpoint: str, bytes_per_second: float, delay: float):
        address = urlsplit(endpoint)
        self._server = (address.hostname, address.port)
        self._rate, self._delay = bytes_per_second, delay
        self.carried = 0
        self.connections = 0
        self.most_at_once = 0

    def __enter__(self) -> "SlowNetwork":
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *exception) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda *_: None)  # connections that are cut at the end
        listening = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=512))
        self.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        started.set()
        self._loop.run_forever()
        listening.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(self._loop), return_exceptions=True))
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.most_at_once = max(self.most_at_once, self.connections)
        try:
            there, back = await asyncio.open_connection(*self._server)
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        except OSError:
            writer.close()
        finally:
            self.connections -= 1

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Carry one direction until its end."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.ensure_future(self._deliver(on_the_way, target))
        free = self._loop.time()
        try:
            while data := await source.read(_CHUNK):
                self.carried += len(data)
                # what a busy machine has slept too long is made up for, what nobody sent is not
                free = max(free, self._loop.time() - _LATE) + len(data) / self._rate
                on_the_way.put_nowait((free + self._delay, data))
                await asyncio.sleep(free - self._loop.time())  # what is not read yet fills the sender's buffers
        finally:
            on_the_way.put_nowait((0.0, b""))
            with contextlib.suppress(OSError):
                await delivery

    async def _deliver(self, on_the_way: asyncio.Queue, target: asyncio.StreamWriter) -> None:
        while True:
            due, data = await on_the_way.get()
            if not data:
                target.close()
                return
            await asyncio.sleep(due - self._loop.time())
            target.write(data)
            await target.drain()
