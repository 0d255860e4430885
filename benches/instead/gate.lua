-- What a team may write in place of the gate: the same checks in Envoy's Lua filter. Lua has no JSON, no SHA-256 and no base64, so
-- this file has them.
--
-- It leaves out what a script has no way to do or what would make it much longer: EdDSA, confirmation, signatures, quarantine,
-- observe mode, drift, counters, log lines with limits, details, gRPC, behind_proxy. It never says which delivery it let through.

local band, bor, bxor, bnot = bit.band, bit.bor, bit.bxor, bit.bnot
local rshift, ror, tobit = bit.rshift, bit.ror, bit.tobit
local byte, char, find, sub = string.byte, string.char, string.find, string.sub
local lower, match, format = string.lower, string.match, string.format

local MAX_BODY = 65536
local MAX_DEPTH = 16
local MAX_TOKEN = 2048
local LEEWAY = 60
local AUDIENCE = "development/veo3-token"
-- First and last address.
local RANGES = { { 0x7f000000, 0x7fffffff } }
local RESULT_HOSTS = { ["runblob.io"] = true }
local RESULT_SUFFIXES = { ".runblob.io" }

-- A refusal: a status and a reason. `error` carries it to the end of the request.
local function refuse(status, reason)
  error({ status = status, reason = reason }, 0)
end

-- JSON: strict, with limits, without repeated keys.

local value

local function bad() refuse(400, "json-invalid") end

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function utf8_of(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xc0 + rshift(code, 6), 0x80 + band(code, 63)) end
  if code < 0x10000 then
    return char(0xe0 + rshift(code, 12), 0x80 + band(rshift(code, 6), 63), 0x80 + band(code, 63))
  end
  return char(0xf0 + rshift(code, 18), 0x80 + band(rshift(code, 12), 63), 0x80 + band(rshift(code, 6), 63), 0x80 + band(code, 63))
end

-- The text at `at`, which is after its quote, and the place after it.
local function text(json, at)
  local plain, after = match(json, '^([^"\\%c]*)"()', at)
  if plain then return plain, after end
  local parts = {}
  while true do
    local piece, stop = match(json, '^([^"\\%c]*)()', at)
    parts[#parts + 1] = piece
    local mark = sub(json, stop, stop)
    if mark == '"' then return table.concat(parts), stop + 1 end
    -- %c has DEL, which JSON allows.
    if mark == "\127" then
      parts[#parts + 1], at = mark, stop + 1
    elseif mark == "\\" then
      local kind = sub(json, stop + 1, stop + 1)
      if ESCAPES[kind] then
        parts[#parts + 1], at = ESCAPES[kind], stop + 2
      else
        local code = tonumber(match(json, "^u(%x%x%x%x)", stop + 1) or bad(), 16)
        at = stop + 6
        if code >= 0xd800 and code < 0xe000 then
          local low = tonumber(match(json, "^\\u(%x%x%x%x)", at) or bad(), 16)
          if code >= 0xdc00 or low < 0xdc00 or low > 0xdfff then bad() end
          code, at = 0x10000 + (code - 0xd800) * 0x400 + low - 0xdc00, at + 6
        end
        parts[#parts + 1] = utf8_of(code)
      end
    else
      bad()
    end
  end
end

local NULL = {}

local function object(json, at, depth)
  if depth > MAX_DEPTH then refuse(400, "json-too-deep") end
  local fields, folded = {}, {}
  at = match(json, "^[ \t\r\n]*()", at)
  if sub(json, at, at) == "}" then return fields, at + 1 end
  while true do
    local key
    key, at = text(json, match(json, '^[ \t\r\n]*"()', at) or bad())
    local name = lower(key)
    if folded[name] then refuse(400, "json-duplicate-key") end
    folded[name] = true
    fields[key], at = value(json, match(json, "^[ \t\r\n]*:[ \t\r\n]*()", at) or bad(), depth)
    local mark, after = match(json, "^[ \t\r\n]*([,}])()", at)
    if mark == "}" then return fields, after end
    at = after or bad()
  end
end

local function array(json, at, depth)
  if depth > MAX_DEPTH then refuse(400, "json-too-deep") end
  local items = {}
  at = match(json, "^[ \t\r\n]*()", at)
  if sub(json, at, at) == "]" then return items, at + 1 end
  while true do
    items[#items + 1], at = value(json, match(json, "^[ \t\r\n]*()", at), depth)
    local mark, after = match(json, "^[ \t\r\n]*([,%]])()", at)
    if mark == "]" then return items, after end
    at = after or bad()
  end
end

local WORDS = { t = { "true", true }, f = { "false", false }, n = { "null", NULL } }

value = function(json, at, depth)
  local mark = sub(json, at, at)
  if mark == '"' then return text(json, at + 1) end
  if mark == "{" then return object(json, at + 1, depth + 1) end
  if mark == "[" then return array(json, at + 1, depth + 1) end
  local word = WORDS[mark]
  if word then
    if sub(json, at, at + #word[1] - 1) ~= word[1] then bad() end
    return word[2], at + #word[1]
  end
  local number, after = match(json, "^(-?%d+%.?%d*[eE]?[+-]?%d*)()", at)
  local whole, fraction = match(number or bad(), "^-?(%d+)(%.?%d*)")
  local digits = #whole > 1 and byte(whole) == 48 or fraction == "."
  if digits or not tonumber(number) or math.abs(tonumber(number)) == math.huge then bad() end
  return tonumber(number), after
end

-- Well-formed UTF-8: no overlong form, no surrogate.
local function is_utf8(bytes)
  local at = find(bytes, "[\128-\255]")
  while at do
    local one, two = byte(bytes, at, at + 1)
    two = two or 0
    local size
    if one >= 0xc2 and one <= 0xdf then
      size = 2
    elseif one >= 0xe0 and one <= 0xef then
      size = 3
      if one == 0xe0 and two < 0xa0 or one == 0xed and two > 0x9f then return false end
    elseif one >= 0xf0 and one <= 0xf4 then
      size = 4
      if one == 0xf0 and two < 0x90 or one == 0xf4 and two > 0x8f then return false end
    else
      return false
    end
    for place = at + 1, at + size - 1 do
      local next = byte(bytes, place)
      if not next or next < 0x80 or next > 0xbf then return false end
    end
    at = find(bytes, "[\128-\255]", at + size)
  end
  return true
end

local function parse(json)
  if not is_utf8(json) then bad() end
  local parsed, at = value(json, match(json, "^[ \t\r\n]*()"), 0)
  if not find(json, "^[ \t\r\n]*$", at) then bad() end
  return parsed
end

-- SHA-256 and HMAC (FIPS 180-4, RFC 2104), base64url.

local K = {}
do
  local function fraction(root) return tobit(math.floor((root % 1) * 4294967296)) end
  local number, found = 2, 0
  while found < 64 do
    local is_prime = true
    for divisor = 2, math.floor(math.sqrt(number)) do
      if number % divisor == 0 then is_prime = false break end
    end
    if is_prime then
      K[found], found = fraction(number ^ (1 / 3)), found + 1
    end
    number = number + 1
  end
end

local W = {}

local function sha256(message)
  local size = #message
  local padding = (55 - size) % 64
  message = message .. "\128" .. ("\0"):rep(padding) .. "\0\0\0\0"
    .. char(band(rshift(size, 21), 255), band(rshift(size, 13), 255), band(rshift(size, 5), 255), band(size * 8, 255))
  local h0, h1, h2, h3 = 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a
  local h4, h5, h6, h7 = 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
  for block = 1, #message, 64 do
    for word = 0, 15 do
      local b1, b2, b3, b4 = byte(message, block + word * 4, block + word * 4 + 3)
      W[word] = bor(b1 * 16777216, b2 * 65536, b3 * 256, b4)
    end
    for word = 16, 63 do
      local x, y = W[word - 15], W[word - 2]
      W[word] = tobit(
        W[word - 16] + bxor(ror(x, 7), ror(x, 18), rshift(x, 3)) + W[word - 7] + bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
      )
    end
    local a, b, c, d, e, f, g, h = h0, h1, h2, h3, h4, h5, h6, h7
    for word = 0, 63 do
      local t1 = h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g)) + K[word] + W[word]
      local t2 = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + t2)
    end
    h0, h1, h2, h3 = tobit(h0 + a), tobit(h1 + b), tobit(h2 + c), tobit(h3 + d)
    h4, h5, h6, h7 = tobit(h4 + e), tobit(h5 + f), tobit(h6 + g), tobit(h7 + h)
  end
  local out = {}
  for place, word in ipairs({ h0, h1, h2, h3, h4, h5, h6, h7 }) do
    out[place] = char(rshift(word, 24), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255))
  end
  return table.concat(out)
end

local function with_each(bytes, mask)
  return (bytes:gsub(".", function(one) return char(bxor(byte(one), mask)) end))
end

-- HMAC by one key, whose two blocks are made once.
local function hmac_by(key)
  if #key > 64 then key = sha256(key) end
  key = key .. ("\0"):rep(64 - #key)
  local inner, outer = with_each(key, 0x36), with_each(key, 0x5c)
  return function(message) return sha256(outer .. sha256(inner .. message)) end
end

local DIGITS = {}
for place = 0, 63 do
  local digit = sub("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", place + 1, place + 1)
  DIGITS[digit] = place
end
DIGITS["+"], DIGITS["/"] = 62, 63

local function base64(encoded)
  local out, bits, held = {}, 0, 0
  for place = 1, #encoded do
    local digit = DIGITS[sub(encoded, place, place)]
    if not digit then return nil end
    held, bits = band(held * 64 + digit, 0xffff), bits + 6
    if bits >= 8 then
      bits = bits - 8
      out[#out + 1] = char(band(rshift(held, bits), 255))
    end
  end
  -- Only one spelling of each text.
  if bits == 6 or band(held, 2 ^ bits - 1) ~= 0 then return nil end
  return table.concat(out)
end

local KEYS = {}
do
  local key = os.getenv("BLOBGATE_TOKEN_KEY")
  local encoded = key and match(key, "^base64:([^=]*)=*$")
  if key then KEYS.dev = hmac_by(encoded and base64(encoded) or key) end
end

local function is_equal(one, other)
  if #one ~= #other then return false end
  local difference = 0
  for place = 1, #one do
    difference = bor(difference, bxor(byte(one, place), byte(other, place)))
  end
  return difference == 0
end

local function decoded(segment)
  local json = base64(segment)
  local ok, parsed = pcall(parse, json or "")
  return ok and type(parsed) == "table" and parsed or nil
end

local function check_token(token)
  local head, claims, signature = match(token, "^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
  local invalid = #token > MAX_TOKEN or not head
  local header = not invalid and decoded(head)
  local mac = header and header.alg == "HS256" and (header.typ == nil or header.typ == "JWT") and header.crit == nil and KEYS[header.kid]
  local given = mac and base64(signature)
  if not given or not is_equal(mac(head .. "." .. claims), given) then refuse(401, "token-invalid") end
  local read = decoded(claims)
  if not read or type(read.exp) ~= "number" then refuse(401, "token-invalid") end
  local now = os.time()
  if read.aud ~= AUDIENCE then refuse(401, "token-audience") end
  if now > read.exp + LEEWAY or type(read.nbf) == "number" and now < read.nbf - LEEWAY then refuse(401, "token-expired") end
  return read
end

-- The request.

local RESERVED = {
  "webhook-id", "webhook-timestamp", "webhook-signature", "idempotency-key", "x-envoy-original-path", "x-original-uri",
  "x-original-url", "x-rewrite-url", "x-forwarded-uri",
}

local function remove_reserved(headers)
  local reserved
  for name in pairs(headers) do
    if sub(name, 1, 9) == "blobgate-" then
      reserved = reserved or {}
      reserved[#reserved + 1] = name
    end
  end
  for _, name in ipairs(reserved or {}) do headers:remove(name) end
  for _, name in ipairs(RESERVED) do headers:remove(name) end
end

local function check_source(address)
  if address and sub(address, 1, 6) == "[::1]:" then return end
  local a, b, c, d = match(address or "", "^(%d+)%.(%d+)%.(%d+)%.(%d+):")
  if not a then refuse(403, "source-denied") end
  local number = a * 16777216 + b * 65536 + c * 256 + d
  local low, high = 1, #RANGES
  while low <= high do
    local middle = math.floor((low + high) / 2)
    local range = RANGES[middle]
    if number < range[1] then
      high = middle - 1
    elseif number > range[2] then
      low = middle + 1
    else
      return
    end
  end
  refuse(403, "source-denied")
end

local function check_head(handle, headers)
  if not handle:streamInfo():downstreamSslConnection() then refuse(403, "https-required") end
  check_source(handle:streamInfo():downstreamRemoteAddress())
  if headers:get(":method") ~= "POST" then refuse(405, "method-not-allowed") end
  local encoding = headers:get("content-encoding")
  if encoding and lower(encoding) ~= "identity" then refuse(415, "unsupported-encoding") end
  local length = headers:get("content-length")
  if length then
    if not find(length, "^%d+$") then refuse(400, "header-invalid") end
    if tonumber(length) > MAX_BODY then refuse(413, "body-too-large") end
  end
end

local HEX = "%x%x%x%x"
local ID = "^" .. HEX .. HEX .. "%-" .. HEX .. "%-" .. HEX .. "%-" .. HEX .. "%-" .. HEX .. HEX .. HEX .. "$"

local function result_host(url)
  if #url > 2048 or find(url, "[%c%s\\\128-\255]") then return nil end
  local host, port = match(lower(url), "^https://([a-z0-9.-]+)(:?%d*)/")
  if not host or port ~= "" and port ~= ":443" or find(host, "^%d+%.[%d.]+$") then return nil end
  return host
end

local function is_result_host(host)
  if RESULT_HOSTS[host] then return true end
  for _, suffix in ipairs(RESULT_SUFFIXES) do
    if sub(host, -#suffix) == suffix then return true end
  end
  return false
end

local function check_event(payload, limits_hosts)
  local id, status, url = payload.generation_id, payload.status, payload.video_url
  if type(id) ~= "string" then refuse(422, "schema-invalid") end
  local kind
  if status == "completed" and type(url) == "string" and lower(sub(url, 1, 8)) == "https://" and #url > 8 then
    kind = "completed"
  elseif status == "failed" then
    local message = type(payload.error) == "table" and payload.error.message or payload.message
    kind = message == "TIMEOUT" and "timeout" or "failed"
  else
    refuse(422, "schema-invalid")
  end
  if not find(id, ID) or find(id, "^[0-]+$") or find(lower(id), "^[f-]+$") then refuse(422, "generation-id-invalid") end
  local host = kind == "completed" and result_host(url) or nil
  if kind == "completed" and limits_hosts and not (host and is_result_host(host)) then refuse(422, "result-url-denied") end
  return lower(id), kind, host
end

local function judge(handle)
  local headers = handle:headers()
  remove_reserved(headers)
  local path = match(headers:get(":path"), "^[^?]*")
  local hook, token = "veo3", nil
  if path ~= "/webhook" then
    token = match(path, "^/hooks/veo3/?([^/]*)$")
    if not token then refuse(404, "unknown-hook") end
    hook = "veo3-token"
  end
  check_head(handle, headers)
  local claims
  if token then
    if token == "" then refuse(401, "token-missing") end
    claims = check_token(token)
  end
  local body = handle:body()
  local size = body and body:length() or 0
  if size == 0 then refuse(400, "body-missing") end
  if size > MAX_BODY then refuse(413, "body-too-large") end
  local payload = parse(body:getBytes(0, size))
  if type(payload) ~= "table" or payload == NULL then refuse(422, "schema-invalid") end
  local id, kind, host = check_event(payload, token)
  -- The wait for the body has ended the first object.
  headers = handle:headers()
  headers:replace(":path", token and "/hooks/veo3" or "/webhook")
  headers:replace("blobgate-verdict", "accepted")
  headers:replace("blobgate-hook", hook)
  headers:replace("blobgate-dialect", "veo3")
  headers:replace("blobgate-contract", "1")
  headers:replace("blobgate-generation-id", id)
  headers:replace("blobgate-event", kind)
  headers:replace("idempotency-key", "veo3:" .. id .. ":" .. kind)
  if host then headers:replace("blobgate-result-host", host) end
  if claims then
    headers:replace("blobgate-proofs", "token")
    if type(claims.jti) == "string" and find(claims.jti, "^[%w._~-]+$") then headers:replace("blobgate-token-id", claims.jti) end
  end
end

local PROBLEM = '{"type":"about:blank","title":"The delivery was refused.","status":%d,"code":"%s"}'

function envoy_on_request(handle)
  local judged, refusal = pcall(judge, handle)
  if judged then return end
  if type(refusal) ~= "table" then
    handle:logErr(tostring(refusal))
    refusal = { status = 503, reason = "not-judged" }
  end
  handle:respond({
    [":status"] = tostring(refusal.status),
    ["content-type"] = "application/problem+json",
    ["blobgate-reason"] = refusal.reason,
  }, format(PROBLEM, refusal.status, refusal.reason))
end

-- The sender retries after 503, and after nothing else.
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  if status == "200" or headers:get("blobgate-reason") then return end
  headers:replace(":status", sub(status, 1, 1) == "2" and "200" or "503")
  headers:remove("retry-after")
  headers:remove("location")
  headers:remove("set-cookie")
end
