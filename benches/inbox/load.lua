-- The load: RunBlob's documented Completed payload with gate headers, and a new generation in every request.

local payload = [[{
  "generation_id": "%s",
  "status": "completed",
  "prompt": "A cat playing with a ball in a sunny room",
  "video_url": "https://cdn.runblob.io/videos/%s.mp4",
  "created_at": "2025-12-06T21:43:03.374000",
  "completed_at": "2025-12-06T21:44:06.143000",
  "seed": 319790131,
  "error": null
}]]

local head = table.concat({
  "POST /webhook HTTP/1.1",
  "Host: localhost",
  "content-type: application/json",
  "blobgate-verdict: accepted",
  "blobgate-hook: veo3",
  "blobgate-dialect: veo3",
  "blobgate-contract: 1",
  "blobgate-proofs: token",
  "blobgate-event: completed",
  "blobgate-result-host: cdn.runblob.io",
  "blobgate-generation-id: %s",
  "idempotency-key: veo3:%s:completed",
  "blobgate-token-id: %s",
  "blobgate-job: order-17",
  "content-length: %d",
  "",
  "",
}, "\r\n")

local id = "%08x-5bef-4e14-%04x-%012x"

-- wrk calls request() once at the start without sending it.
sent = -1

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
  thread:set("number", #threads)
end

function init(args)
  math.randomseed(tonumber(args[1]) * 64 + number)
  run, variant = math.random(0, 0x7fffffff), math.random(0x8000, 0xbfff)
end

function request()
  sent = sent + 1
  local generation = id:format(run, variant, sent + 1)
  local body = payload:format(generation, generation)
  return head:format(generation, generation, generation, #body) .. body
end

function done(summary, latency)
  local errors, total = summary.errors, 0
  for _, thread in ipairs(threads) do total = total + thread:get("sent") end
  print(("result answered=%d sent=%d microseconds=%d p99=%d errors=%d"):format(
    summary.requests, total, summary.duration, latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
