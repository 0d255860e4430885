-- The load: RunBlob's documented Completed payload with a new generation in every request.

local payload = [[{
  "generation_id": "%s",
  "status": "completed",
  "prompt": "A cat playing with a ball in a sunny room",
  "video_url": "https://cdn.runblob.io/videos/your-video.mp4",
  "created_at": "2025-12-06T21:43:03.374000",
  "completed_at": "2025-12-06T21:44:06.143000",
  "seed": 319790131,
  "error": null
}]]

local id = "%08x-5bef-4e14-%04x-%012x"
local head = "POST %s HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
local before, after = payload:match("^(.*)%%s(.*)$")
local start

-- wrk calls request() once at the start without sending it.
sent = -1

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  math.randomseed(tonumber(args[1]))
  start = head:format(args[2], #before + 36 + #after) .. before
  run, variant = math.random(0, 0x7fffffff), math.random(0x8000, 0xbfff)
end

function request()
  sent = sent + 1
  return start .. id:format(run, variant, sent + 1) .. after
end

function done(summary)
  local errors = summary.errors
  print(("result answered=%d sent=%d microseconds=%d connect=%d read=%d write=%d timeout=%d status=%d"):format(
    summary.requests, threads[1]:get("sent"), summary.duration,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
