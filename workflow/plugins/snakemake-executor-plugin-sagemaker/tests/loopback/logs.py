"""CloudWatch Logs: one stream a host and attempt, filled from the file that holds the container's output."""

import base64
import threading
import time
from pathlib import Path

from .errors import AwsError

GROUP = "/aws/sagemaker/TrainingJobs"
_BYTES_A_PAGE = 1 << 20
_BYTES_AN_EVENT = 26  # what CloudWatch adds to each message when it measures a page


class LogStream:
    """The lines of one container as events; reads what was appended to `path` whenever it is asked."""

    def __init__(self, name: str, path: Path):
        self.name, self._path = name, path
        self.created = _milliseconds()
        self._events: list[dict] = []
        self._offset, self._rest = 0, b""
        self._lock = threading.Lock()

    def absorb(self, *, finished: bool = False) -> None:
        """Turn new whole lines into events; `finished` also takes a last line that does not end."""
        with self._lock:
            if self._path.exists():
                with self._path.open("rb") as file:
                    file.seek(self._offset)
                    new = file.read()
                self._offset += len(new)
                *lines, self._rest = (self._rest + new).split(b"\n")
                if finished and self._rest:
                    lines, self._rest = [*lines, self._rest], b""
                now = _milliseconds()
                for line in lines:
                    text = line.decode(errors="replace").rstrip("\r") or " "  # CloudWatch has no empty messages
                    self._events.append({"timestamp": now, "message": text, "ingestionTime": now})

    def events(self, lag: float = 0.0) -> list[dict]:
        """All events so far that are at least `lag` seconds old."""
        self.absorb()
        newest = _milliseconds() - 1000 * lag
        with self._lock:
            return [event for event in self._events if event["ingestionTime"] <= newest]

    def describe(self, lag: float = 0.0) -> dict:
        """The stream as in DescribeLogStreams."""
        events = self.events(lag)
        return {
            "logStreamName": self.name,
            "creationTime": self.created,
            "firstEventTimestamp": events[0]["timestamp"],
            "lastEventTimestamp": events[-1]["timestamp"],
            "lastIngestionTime": events[-1]["ingestionTime"],
            "arn": f"arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}:log-stream:{self.name}",
        }


class CloudWatchLogs:
    """The streams of a server and the operations on them.

    lag: seconds after which the API shows an event; on AWS some seconds go by, also at the end of a failed job.
    """

    def __init__(self):
        self.lag = 0.0
        self._streams: dict[str, LogStream] = {}
        self._lock = threading.Lock()

    def open(self, name: str, path: Path) -> LogStream:
        """A new stream; it is listed once it has an event, as on AWS."""
        stream = LogStream(name, path)
        with self._lock:
            self._streams[name] = stream
        return stream

    def text(self, job_name: str) -> str:
        """All lines of all hosts and attempts of a job so far, for a test to search."""
        streams = self._named(f"{job_name}/")
        return "\n".join(event["message"] for stream in streams for event in stream.events())

    def operations(self) -> dict:
        return {
            "DescribeLogStreams": self.describe_log_streams,
            "GetLogEvents": self.get_log_events,
            "FilterLogEvents": self.filter_log_events,
        }

    def describe_log_streams(self, request: dict) -> dict:
        _check_group(request)
        streams = [stream.describe(self.lag) for stream in self._begun(request.get("logStreamNamePrefix", ""))]
        if request.get("orderBy") == "LastEventTime":
            if "logStreamNamePrefix" in request:
                raise AwsError("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")
            streams.sort(key=lambda stream: stream["lastEventTimestamp"])
        if request.get("descending"):
            streams.reverse()
        return _page(streams, "logStreams", request.get("nextToken"), request.get("limit", 50))

    def get_log_events(self, request: dict) -> dict:
        _check_group(request)
        name = request["logStreamName"]
        stream = next((stream for stream in self._begun(name) if stream.name == name), None)
        if stream is None:
            raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")
        events = _between(stream.events(self.lag), request)
        limit, (direction, position) = request.get("limit", 10_000), _direction(request, len(events))
        if direction == "f":
            first, last = position, position + _that_fit(events[position : position + limit])
        else:
            earlier = events[max(0, position - limit) : position]
            first, last = position - _that_fit(earlier[::-1]), position
        return {
            "events": events[first:last],
            "nextForwardToken": f"f/{last:056d}/s",
            "nextBackwardToken": f"b/{first:056d}/s",
        }

    def filter_log_events(self, request: dict) -> dict:
        _check_group(request)
        if "logStreamNames" in request and "logStreamNamePrefix" in request:
            raise AwsError("InvalidParameterException", "logStreamNames and logStreamNamePrefix exclude each other.")
        streams = self._begun(request.get("logStreamNamePrefix", ""))
        if "logStreamNames" in request:
            streams = [stream for stream in streams if stream.name in request["logStreamNames"]]
        terms = request.get("filterPattern", "").replace('"', "").split()
        found = [
            {**event, "logStreamName": stream.name, "eventId": f"{number:056d}"}
            for stream in streams
            for number, event in enumerate(_between(stream.events(self.lag), request))
            if all(term in event["message"] for term in terms)
        ]
        found.sort(key=lambda event: event["timestamp"])
        return _page(found, "events", request.get("nextToken"), request.get("limit", 10_000))

    def _named(self, prefix: str) -> list[LogStream]:
        with self._lock:
            streams = sorted(self._streams.values(), key=lambda stream: stream.name)
        return [stream for stream in streams if stream.name.startswith(prefix)]

    def _begun(self, prefix: str) -> list[LogStream]:
        """The streams that the API shows: those with an event."""
        return [stream for stream in self._named(prefix) if stream.events(self.lag)]


def _milliseconds() -> int:
    return int(time.time() * 1000)


def _check_group(request: dict) -> None:
    if request.get("logGroupName", request.get("logGroupIdentifier")) != GROUP:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")


def _between(events: list[dict], request: dict) -> list[dict]:
    start, end = request.get("startTime", 0), request.get("endTime")
    return [event for event in events if start <= event["timestamp"] and (end is None or event["timestamp"] < end)]


def _that_fit(events: list[dict]) -> int:
    """How many of the first events fit into a page of 1 MiB."""
    size = 0
    for count, event in enumerate(events):
        size += len(event["message"].encode()) + _BYTES_AN_EVENT
        if size > _BYTES_A_PAGE and count:
            return count
    return len(events)


def _direction(request: dict, count: int) -> tuple[str, int]:
    token = request.get("nextToken")
    if token is None:
        return ("f", 0) if request.get("startFromHead") else ("b", count)
    try:
        direction, position, _ = token.split("/")
        return {"f": "f", "b": "b"}[direction], min(int(position), count)
    except (ValueError, KeyError):
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.") from None


def _page(items: list[dict], key: str, token: str | None, limit: int) -> dict:
    first = int(base64.b64decode(token)) if token else 0
    page = {key: items[first : first + limit]}
    if first + limit < len(items):
        page["nextToken"] = base64.b64encode(str(first + limit).encode()).decode()
    return page
