// A receiver in Express that believes what verifies with `standardwebhooks`, under the key in `WEBHOOK_KEY`.
// Writes its port and what it gets as lines of JSON on standard output.

const fs = require('node:fs');
const express = require('express');
const { Webhook, WebhookVerificationError } = require('standardwebhooks');

const app = express();
const webhook = new Webhook(process.env.WEBHOOK_KEY);

// The raw body: what express.json() parsed cannot be verified any more.
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
