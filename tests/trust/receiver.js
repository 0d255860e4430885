// A receiver in Express that verifies with `standardwebhooks` and the key in `WEBHOOK_KEY`.
// Prints its port and its requests as lines of JSON.

const fs = require('node:fs');
const express = require('express');
const { Webhook, WebhookVerificationError } = require('standardwebhooks');

const app = express();
const webhook = new Webhook(process.env.WEBHOOK_KEY);

// The raw body, since the signature does not cover what express.json() returns.
app.post('/{*path}', express.raw({ type: () => true }), (request, response) => {
  const verified = verifies(request.body, request.headers);
  write({ verified, headers: request.headers, body: request.body.toString('base64') });
  response.sendStatus(verified ? 200 : 401);
});

function verifies(body, headers) {
  try {
    webhook.verify(body, headers, { jsonParse: false });
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
}

function write(line) {
  fs.writeSync(process.stdout.fd, JSON.stringify(line) + '\n');
}

const server = app.listen(0, '127.0.0.1', () => write({ port: server.address().port }));
