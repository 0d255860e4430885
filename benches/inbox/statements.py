"""The inbox's statements for one new event, as a script for pgbench. It reads them from the inbox's source."""

import pathlib
import re

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "inbox/src/store/postgres/deciding.rs"

# The same event as in load.lua: completed, with a new token.
BODY = """{
  "generation_id": "00000000-5bef-4e14-8000-000000000000",
  "status": "completed",
  "prompt": "A cat playing with a ball in a sunny room",
  "video_url": "https://cdn.runblob.io/videos/00000000-5bef-4e14-8000-000000000000.mp4",
  "created_at": "2025-12-06T21:43:03.374000",
  "completed_at": "2025-12-06T21:44:06.143000",
  "seed": 319790131,
  "error": null
}"""
HEADERS = "".join(
    f"{name}: {value}\r\n"
    for name, value in {
        "content-type": "application/json",
        "blobgate-verdict": "accepted",
        "blobgate-hook": "veo3",
        "blobgate-dialect": "veo3",
        "blobgate-contract": "1",
        "blobgate-proofs": "token",
        "blobgate-event": "completed",
        "blobgate-result-host": "cdn.runblob.io",
        "blobgate-generation-id": "00000000-5bef-4e14-8000-000000000000",
        "idempotency-key": "veo3:00000000-5bef-4e14-8000-000000000000:completed",
        "blobgate-token-id": "00000000-5bef-4e14-8000-000000000000",
        "blobgate-job": "order-17",
    }.items()
)
TRACEPARENT = "'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'"
GENERATION = "lpad(to_hex(:a::bigint), 8, '0') || '-5bef-4e14-8000-' || lpad(to_hex(:b::bigint), 12, '0')"


def hexed(text):
    return f"'\\x{text.encode().hex()}'::bytea"


def array(value, kind):
    return f"ARRAY[{value}]::{kind}[]"


def script():
    """One transaction with one event, in the order of inbox/src/store/batch.rs."""
    text, none = (lambda value: array(value, "text")), array("NULL", "text")
    digest = "sha256(convert_to(" + GENERATION + ", 'UTF8'))"
    size = str(len(BODY) + len(HEADERS) + len("/webhook"))
    fingerprint = f"'completed ' || encode({digest}, 'hex')"
    values = {
        "LOCK_GENERATIONS": [text("'veo3'"), text(GENERATION)],
        "LOCK_TOKENS": [text("'veo3'"), text(GENERATION)],
        "INSERT": [
            array(":id", "bigint"), text("'deliver'"), text("'waiting'"), text("'veo3'"), text(GENERATION), text("'completed'"),
            none, none, none, text(GENERATION), text("'order-17'"), text(GENERATION), text(TRACEPARENT), array("true", "boolean"), array(digest, "bytea"),
            array(size, "bigint"), text("'veo3/completed'"), none, array("1", "bigint"),
        ],
        "INSERT_PAYLOAD": [
            array(":id", "bigint"), array(hexed("/webhook"), "bytea"), array(hexed(HEADERS), "bytea"), array(hexed(BODY), "bytea"),
        ],
        "SAVE_GENERATIONS": [
            text("'veo3'"), text(GENERATION), text(GENERATION), array(":id", "bigint"), text(fingerprint), text("'webhook'"),
            array("true", "boolean"), array("NULL", "bigint"), none, none, array("NULL", "boolean"),
        ],
        "SAVE_TOKENS": [text("'veo3'"), text(GENERATION), text(GENERATION)],
    }
    source = SOURCE.read_text()
    lines = [
        "\\set a random(0, 2147483647)",
        "\\set b random(0, 281474976710655)",
        "BEGIN;",
        statement(source, "IDS", ["1"]).replace("nextval('entry_id')", "nextval('entry_id') AS id") + " \\gset",
    ]
    lines += [statement(source, name, bound) + ";" for name, bound in values.items()]
    return "\n".join([*lines, "COMMIT;", ""])


def statement(source, name, values):
    found = re.search(rf'const {name}: &str =\s*"(.*?)";', source, re.DOTALL)
    sql = " ".join(found[1].split())
    for number in range(len(values), 0, -1):
        # A parameter that is an array already stays one.
        sql = re.sub(rf"\${number}(::\w+\[\])?(?!\d)", lambda _: values[number - 1], sql)
    assert "$" not in sql, sql
    return sql


if __name__ == "__main__":
    print(script())
