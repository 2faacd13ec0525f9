"""AWS JSON 1.1 over HTTP: requests in, operations called, answers and errors out."""

import functools
import json
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import botocore.session

from .errors import AwsError
from .faults import FaultPlan
from .recording import Recorder, Request
from .validation import check_request, violations

if TYPE_CHECKING:
    from .permissions import Permissions  # which imports moto

Operation = Callable[[dict], dict | None]


@functools.cache
def service_model(name: str):
    """botocore's model of a service; read once a process, since SageMaker's has megabytes."""
    return botocore.session.Session().get_service_model(name)


class JsonServer(ThreadingHTTPServer):
    """A threaded server on a free port of 127.0.0.1 for the `operations` of several services.

    operations: service name (botocore's) → operation name → function of the checked request.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        operations: dict[str, dict[str, Operation]],
        faults: FaultPlan,
        recorder: Recorder,
        permissions: "Permissions | None" = None,
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self._operations = {
            service_model(name).metadata["targetPrefix"]: (name, ops) for name, ops in operations.items()
        }
        self._faults, self._recorder, self._permissions = faults, recorder, permissions

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> dict:
        """The answer to one request. Raises AwsError."""
        prefix, _, operation = target.rpartition(".")
        parameters = _parsed(body)
        request = Request(operation, headers, body, parameters)
        self._recorder.add(request)
        try:
            return self._call(prefix, operation, parameters, headers)
        except AwsError as error:
            request.error = error.code
            raise
        except Exception:
            request.error = "InternalFailure"
            raise

    def _call(self, prefix: str, operation: str, parameters: dict, headers: dict[str, str]) -> dict:
        refusal = self._faults.refusal(operation, str(parameters.get("TrainingJobName", "")))
        if refusal:
            raise AwsError(refusal.code, refusal.message, refusal.status)
        service, operations = self._operations.get(prefix, (None, {}))
        if operation not in operations:
            raise AwsError("UnknownOperationException", f"The loopback does not serve {prefix}.{operation}.")
        if self._permissions:
            self._permissions.check(headers, service, operation, parameters)
        model = service_model(service).operation_model(operation)
        check_request(model.input_shape, parameters)
        answer = operations[operation](parameters) or {}
        if model.output_shape:
            wrong = violations(model.output_shape, answer)
            assert not wrong, f"the answer to {operation} does not fit the model: {wrong}"
        return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # header and body in one packet: two would wait for a delayed acknowledgement, 40 ms a request

    def log_message(self, *args) -> None:
        """Print nothing: the recorder has it all."""

    def do_POST(self) -> None:  # noqa: N802, the name is http.server's
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answer = self.server.answer(self.headers.get("X-Amz-Target", ""), dict(self.headers), body)
        except AwsError as error:
            self._send(error.status, {"__type": error.code, "message": error.message}, error.code)
        except Exception as error:
            # A failure of the loopback itself must reach the test's client, which would else wait for its timeout.
            message = f"The loopback failed: {error!r}"
            self._send(500, {"__type": "InternalFailure", "message": message}, "InternalFailure")
            raise
        else:
            self._send(200, answer)

    def _send(self, status: int, answer: dict, error: str | None = None) -> None:
        payload = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(payload)

    def handle(self) -> None:
        # A client that goes away in the middle (a controller that was killed) is a normal thing here.
        try:
            super().handle()
        except (TimeoutError, ConnectionError):
            self.close_connection = True


def _parsed(body: bytes) -> dict:
    try:
        parameters = json.loads(body or b"{}")
    except ValueError:
        raise AwsError("SerializationException", "The request is not JSON.") from None
    if not isinstance(parameters, dict):
        raise AwsError("SerializationException", "The request is not a structure.")
    return parameters
