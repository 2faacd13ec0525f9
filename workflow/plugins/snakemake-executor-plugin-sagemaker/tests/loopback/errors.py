"""The one exception that becomes an AWS error response."""


class AwsError(Exception):
    """An error response of AWS: `code` is botocore's `ClientError.response["Error"]["Code"]`; the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status


def validation_error(message: str) -> AwsError:
    """The error of a request that SageMaker understands and refuses."""
    return AwsError("ValidationException", message)
