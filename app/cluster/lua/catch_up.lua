-- Returns the messages of a user that a node missed. Writes nothing, so it works while the server is out of memory.
-- KEYS: log, head, inbox
-- ARGV: seq of the last message the node applied (its cursor), most bytes of a reply
-- Returns {'same', seq of the head, more, {JSON, …}, ms of the server's clock} with the later messages in order, or
-- the first part of them if `more` is 1; {'new', …} with the same of a new history; or {'lost', seq of the head} if the
-- missed messages are unknown.
local log, cursor, most = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last, floor = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+) (%d+) %d+ %d+ %d+$')
local length = redis.call('LLEN', log)
if not last and length == 0 then last, floor = '0', '0' end
if last and tonumber(last) == cursor then return {'same', last, 0, {}, now} end

local function seq_of(entry)
  return string.match(string.sub(entry, -200), '"accepted":(%d+),"previous"') or '0'
end

-- Reads backwards, because little is missing usually. Returns entries newest first, and whether the cursor was found.
local function after_cursor()
  local found = {}
  for stop = length - 1, 0, -64 do
    local page = redis.call('LRANGE', log, math.max(0, stop - 63), stop)
    for index = #page, 1, -1 do
      local seq = tonumber(seq_of(page[index]))
      if seq == cursor then return found, true end
      if seq < cursor and floor ~= '0' then return found, false end
      found[#found + 1] = page[index]
    end
  end
  return found, false
end

-- Without a head the floor is unknown, but the oldest entry tells whether one came before it.
local function is_complete()
  return length == 0 or string.find(string.sub(redis.call('LINDEX', log, 0), -200), '"previous":0,', 1, true)
end

-- Returns the inbox text of an entry that refers to the inbox: '' if it has expired, nil if it was removed before.
local function resolved(entry)
  local id, place, expires =
    string.match(entry, '^{"id":"([^"]*)"(,"accepted":%d+,"previous":%d+),"waits":true,"expires_ms":(%d+)}$')
  if not id then return entry end
  local text = redis.call('HGET', KEYS[3], id)
  if text and string.find(string.sub(text, -260), place .. ',', 1, true) then return text end
  return tonumber(expires) <= now and '' or nil
end

local newest_first, is_same = after_cursor()
if length > 0 and not last then last = seq_of(redis.call('LINDEX', log, -1)) end
if length > 0 and seq_of(redis.call('LINDEX', log, -1)) ~= last then return {'lost', last} end
local reaches_floor = #newest_first == length and (length > 0 or last == '0')
if not is_same then
  is_same = reaches_floor and length > 0 and tonumber(floor) == cursor
  if not is_same and not (reaches_floor and floor == '0' and is_complete()) then return {'lost', last} end
end
local entries, bytes = {}, 0
for index = #newest_first, 1, -1 do
  local entry = resolved(newest_first[index])
  if not entry then return {'lost', last} end
  bytes = bytes + #entry
  if bytes > most and #entries > 0 then return {is_same and 'same' or 'new', last, 1, entries, now} end
  if entry ~= '' then entries[#entries + 1] = entry end
end
return {is_same and 'same' or 'new', last, 0, entries, now}
