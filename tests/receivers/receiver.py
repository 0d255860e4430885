"""The Flask receiver of the provider's page: one route, which tells success from failure by `status`.

Prints its port and its handler's records as lines of JSON.
"""

import json
import logging

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

app = Flask(__name__)


@app.route("/webhook", methods=["POST"])
def webhook():
    try:
        data = request.json
        if data["status"] == "completed":
            video_ready(data["generation_id"], data["video_url"])
        else:
            # As on the page: the default does not apply to a null value.
            code = data.get("error", {}).get("message", "Unknown error")
            generation_failed(data["generation_id"], code)
        return jsonify({"status": "received"}), 200
    except Exception as error:
        record(raised=type(error).__name__)
        return jsonify({"error": "Internal error"}), 500


def video_ready(generation_id, video_url):
    record(generation_id=generation_id, video_url=video_url)


def generation_failed(generation_id, code):
    record(generation_id=generation_id, code=code)


def record(**seen):
    headers = {name: request.headers.get(name) for name in ("blobgate-event", "blobgate-generation-id", "idempotency-key")}
    print(json.dumps(seen | headers), flush=True)


logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()
