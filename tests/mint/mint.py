"""Prints a token that is valid for a day, the last segment of a callback URL: https://hooks.example.com/hooks/veo3/{token}"""

import base64
import os
import secrets
import time

import jwt


def signing_key(value):
    """EdDSA with a private key in PEM, else HS256 with the same value as the gate."""
    if value.startswith("-----BEGIN "):
        return "EdDSA", value.replace("\\n", "\n")
    if value.startswith("base64:"):
        return "HS256", base64.b64decode(value.removeprefix("base64:"), validate=True)
    return "HS256", value.encode()


algorithm, key = signing_key(os.environ["BLOBGATE_MINT_KEY"])
claims = {
    "exp": int(time.time()) + 24 * 60 * 60,
    "aud": os.environ["MINT_AUD"],  # environment/hook: production/veo3
    "job": os.environ["MINT_JOB"],  # your own reference: order-17
    "jti": secrets.token_urlsafe(12),
}
print(jwt.encode(claims, key, algorithm, headers={"kid": os.environ["MINT_KID"]}))
