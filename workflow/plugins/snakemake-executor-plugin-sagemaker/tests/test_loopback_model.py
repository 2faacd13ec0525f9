"""The loopback can check whatever botocore's model says of the requests that it serves."""

from loopback import LoopbackSageMaker
from loopback.protocol import service_model
from loopback.validation import compiled


def test_every_pattern_of_the_model_can_be_checked():
    shapes = {}

    def visit(shape) -> None:
        if shape.name in shapes:
            return
        shapes[shape.name] = shape
        if shape.type_name == "structure":
            for member in shape.members.values():
                visit(member)
        elif shape.type_name == "list":
            visit(shape.member)
        elif shape.type_name == "map":
            visit(shape.key)
            visit(shape.value)

    for service, operations in LoopbackSageMaker().operations().items():
        for operation in operations:
            visit(service_model(service).operation_model(operation).input_shape)
    patterns = {shape.metadata["pattern"] for shape in shapes.values() if "pattern" in shape.metadata}
    assert len(patterns) > 20
    for pattern in patterns:
        compiled(pattern)
