// The Express receiver of the provider's page: one route, which tells success from failure by `status`.
// Prints its port and its handler's records as lines of JSON.

const fs = require('node:fs');
const express = require('express');

const app = express();
app.use(express.json());

app.post('/webhook', (request, response) => {
  try {
    const { generation_id, status, video_url, error } = request.body;
    if (status === 'completed') {
      videoReady(request, generation_id, video_url);
    } else {
      generationFailed(request, generation_id, error?.message || 'Unknown error');
    }
    response.status(200).json({ status: 'received' });
  } catch (raised) {
    record(request, { raised: raised.name });
    response.status(500).json({ error: 'Internal error' });
  }
});

function videoReady(request, generation_id, video_url) {
  record(request, { generation_id, video_url });
}

function generationFailed(request, generation_id, code) {
  record(request, { generation_id, code });
}

function record(request, seen) {
  for (const name of ['blobgate-event', 'blobgate-generation-id', 'idempotency-key']) {
    seen[name] = request.get(name) ?? null;
  }
  write(seen);
}

function write(line) {
  fs.writeSync(process.stdout.fd, JSON.stringify(line) + '\n');
}

const server = app.listen(0, '127.0.0.1', () => write({ port: server.address().port }));
