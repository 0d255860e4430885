"""Callback tokens of the development keys, valid for a day."""

import base64
import hashlib
import hmac
import json
import pathlib
import subprocess
import tempfile
import time

from parts import ROOT, output

AUDIENCE = "development/veo3-token"
DAY = 86_400
# The bytes before the key in the DER of an Ed25519 public key: RFC 8410, section 4.
DER_PREFIX = 12


class Tokens:
    def __init__(self):
        output([ROOT / "dev/secrets"], "cannot create the development secrets")
        lines = dict(line.split("=", 1) for line in (ROOT / "secrets/env").read_text().splitlines() if "=" in line)
        self.key = base64.b64decode(lines["BLOBGATE_TOKEN_KEY"].removeprefix("base64:"))
        with tempfile.TemporaryDirectory() as work:
            pem = pathlib.Path(work) / "key.pem"
            output(["openssl", "genpkey", "-algorithm", "ed25519", "-out", pem], "openssl cannot create a key")
            der = subprocess.run(
                ["openssl", "pkey", "-in", pem, "-pubout", "-outform", "DER"], stdout=subprocess.PIPE, check=True
            ).stdout
            self.public = encoded(der[DER_PREFIX:])
            self.pem = pem.read_bytes()

    def hs256(self, **claims):
        return self.token("HS256", lambda signed: hmac.digest(self.key, signed, hashlib.sha256), claims)

    def eddsa(self, **claims):
        return self.token("EdDSA", self.sign, claims)

    def sign(self, signed):
        with tempfile.TemporaryDirectory() as work:
            pem, message = pathlib.Path(work) / "key.pem", pathlib.Path(work) / "message"
            pem.write_bytes(self.pem)
            message.write_bytes(signed)
            command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", pem, "-in", message]
            return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout

    def token(self, algorithm, sign, claims):
        now = int(time.time())
        head = {"alg": algorithm, "typ": "JWT", "kid": "dev"}
        body = {"aud": AUDIENCE, "iat": now, "exp": now + DAY, "jti": "0123456789abcdef01234567"} | claims
        signed = ".".join(encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (head, body))
        return f"{signed}.{encoded(sign(signed.encode()))}"


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
