"""A receiver in Flask that verifies with `standardwebhooks` and the key in `WEBHOOK_KEY`.

Prints its port and its requests as lines of JSON.
"""

import base64
import json
import logging
import os

from flask import Flask, request
from standardwebhooks import Webhook, WebhookVerificationError
from werkzeug.serving import make_server

app = Flask(__name__)
webhook = Webhook(os.environ["WEBHOOK_KEY"])


@app.route("/", defaults={"path": ""}, methods=["POST"])
@app.route("/<path:path>", methods=["POST"])
def receive(path):
    body, headers = request.get_data(), {name.lower(): value for name, value in request.headers.items()}
    try:
        webhook.verify(body, headers, json_parse=False)
        verified = True
    except (WebhookVerificationError, UnicodeDecodeError):
        verified = False
    write({"verified": verified, "headers": headers, "body": base64.b64encode(body).decode()})
    return "", 200 if verified else 401


def write(line):
    print(json.dumps(line), flush=True)


logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, app, threaded=True)
write({"port": server.server_port})
server.serve_forever()
