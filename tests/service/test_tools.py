import re

import pytest
from jsonschema_rs import Draft202012Validator

from atoll.core.errors import InvalidRequest
from atoll.service.tools import FORMATS, catalogue, schemas

LANGUAGES = ["python", "bash"]


@pytest.mark.parametrize("style", FORMATS)
def test_each_tool_has_a_name_a_description_and_a_schema(style: str) -> None:
    tools = schemas(style, LANGUAGES)
    assert len(tools) == len(catalogue(LANGUAGES))
    for tool in tools:
        inner = tool["function"] if style == "openai" else tool
        assert isinstance(inner, dict)
        assert re.fullmatch(r"[a-z_]{1,64}", inner["name"])
        assert inner["description"].endswith(".")
        schema = inner["parameters" if style == "openai" else "input_schema"]
        Draft202012Validator(schema)
        assert set(schema["required"]) <= set(schema["properties"])


def test_the_schema_takes_what_is_right_and_nothing_else() -> None:
    execute = next(tool for tool in catalogue(LANGUAGES) if tool.name == "execute_code")
    validator = Draft202012Validator(execute.parameters())
    assert validator.is_valid({"language": "python", "code": "1", "timeout_s": 3})
    assert not validator.is_valid({"language": "klingon", "code": "1"})
    assert not validator.is_valid({"language": "python"})
    assert not validator.is_valid({"language": "python", "code": "1", "sudo": True})
    assert not validator.is_valid({"language": "python", "code": "1", "timeout_s": 0})


def test_what_a_path_needs_is_required() -> None:
    for tool in catalogue(LANGUAGES):
        assert set(re.findall(r"{(\w+)}", tool.path)) <= set(tool.required)


def test_another_format_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="openai, anthropic") as caught:
        schemas("soap", LANGUAGES)
    assert caught.value.field == "format"
