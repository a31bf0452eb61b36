-- Accepts messages for users and publishes them to the nodes that watch these users. Those of one user are one step, or
-- nothing.
-- KEYS: the ring of hashes for descriptions; for each user: inbox, its mark of a search for expired messages, log, head,
--       acknowledged ids, and behind them the mark of the id for each `given` message of the user
-- ARGV: PUBLISH or SPUBLISH, header of a payload, most messages of an inbox, ms that the log keeps a message, ms that
--       descriptions are kept, hashes in their ring, number of users; for each user: channel, 1 if the asking node
--       listens to it or 0, number of messages; then for each message: id, JSON of the message without its last brace,
--       ms that it may live, when the inbox keeps it (always, never, or unheard: if no node listens), new, given (the
--       caller chose the id), stored (a persisted message) or again (one that may have been accepted before), digest of
--       the content, description or ''
-- Returns for each message: listening nodes, kept, seq, previous seq, ms of its acknowledgement or 0; or -1, digest, 0,
-- 0, 0 for a known id; or -2, 0, 0, 0, 0 if the inbox is full. It ends early at a user whose keys cannot be used.
local verb, label, most, window = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local ring, users = tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
-- The clocks of nodes may be wrong: a message lives so long by the server's.
local now = math.floor(now_us / 1000)
local replies, described, key, argument = {}, {}, ring + 1, 8 + 3 * users

local function reply(heard, kept, seq, previous, acked)
  local count = #replies
  replies[count + 1], replies[count + 2], replies[count + 3] = heard, kept, seq
  replies[count + 4], replies[count + 5] = previous, acked
end

local channels = {}
for index = 1, users do channels[index] = ARGV[5 + 3 * index] end
local listening = redis.call('PUBSUB', verb == 'PUBLISH' and 'NUMSUB' or 'SHARDNUMSUB', unpack(channels))

local function is_in_log(log, id)
  local start = '{"id":"' .. id .. '"'
  for _, entry in ipairs(redis.call('LRANGE', log, -1000, -1)) do
    if string.sub(entry, 1, #start) == start then return true end
  end
  return false
end

-- A foreign entry counts as expired. Matching the tail alone is much cheaper than the whole text.
local function is_over(entry)
  return (tonumber(string.match(string.sub(entry, -40), '"expires_ms":(%d+)}$')) or 0) <= now
end

-- At most once a second: it reads the whole inbox, and callers may go on pushing to a user who is away.
local function drop_expired(inbox, mark)
  if not redis.call('SET', mark, '1', 'PX', 1000, 'NX') then return end
  local entries = redis.call('HGETALL', inbox)
  for index = 1, #entries, 2 do
    if is_over(entries[index + 1]) then redis.call('HDEL', inbox, entries[index]) end
  end
end

-- The log drops at most two entries for each that it takes. The floor is the last entry that it dropped.
local function trim(log, taken, floor, oldest)
  local limit = now_us - window * 1000
  for _ = 1, 2 * taken do
    if oldest >= limit then break end
    oldest = tonumber(string.match(string.sub(redis.call('LINDEX', log, 0), -200), '"accepted":(%d+),"previous"')) or 0
    if oldest >= limit then break end
    redis.call('LPOP', log)
    floor, oldest = math.max(floor, oldest), 0
  end
  return floor, oldest
end

-- The inbox lives as long as its newest message, and a little longer, so that not every message of many prolongs it.
-- The last step: a time that has passed removes it at once.
local function limit_life(inbox, was_empty, life)
  local left = was_empty and -1 or redis.call('PTTL', inbox)
  if left < 0 or left < life then
    redis.call('PEXPIRE', inbox, string.format('%.0f', life + math.min(math.max(0, life) / 10, 10000)))
  end
end

-- By the time of the server one hash of the ring is written to. When it is new the oldest one is removed in the
-- background: that many fields would hold Redis up if they expired. Where a key cannot be used, nothing is described.
local function describe()
  local slot = tonumber(ARGV[5]) / (ring - 2)
  local turn = math.floor(now / slot)
  local hash = KEYS[1 + turn % ring]
  local added = redis.pcall('HSET', hash, unpack(described))
  if type(added) == 'number' and redis.call('HLEN', hash) == added then
    redis.call('PEXPIRE', hash, string.format('%.0f', slot * (ring - 1)))
    redis.call('UNLINK', KEYS[1 + (turn + 1) % ring])
  end
end

local function put(user)
  local channel, own, count = ARGV[5 + 3 * user], tonumber(ARGV[6 + 3 * user]), tonumber(ARGV[7 + 3 * user])
  local inbox, full, log, head, acknowledged = unpack(KEYS, key, key + 4)
  key = key + 5
  local heard = listening[2 * user]
  local waiting
  local texts, entries, fields, later, seen = {}, {}, {}, {}, {}
  local longest, longest_kept = 1, -math.huge

  local previous, floor, oldest, unread, referred =
    string.match(redis.call('GET', head) or '', '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  previous, floor, oldest = tonumber(previous) or 0, tonumber(floor) or 0, tonumber(oldest) or 0
  unread, referred = tonumber(unread) or 0, tonumber(referred) or 0
  local before, first, previous_text = previous, math.max(now_us, previous + 1), string.format('%.0f', previous)

  local function has_room()
    waiting = waiting or redis.call('HLEN', inbox)
    if waiting + #fields / 2 < most then return true end
    drop_expired(inbox, full)
    waiting = redis.call('HLEN', inbox)
    return waiting + #fields / 2 < most
  end

  local function accept(id, json, life, keep, kind)
    -- A device may have found a persisted message in the archive and acknowledged it before this put arrived.
    local acked = (kind == 'stored' or kind == 'again') and redis.call('ZSCORE', acknowledged, id) or 0
    -- The sequence number is the time in µs, and always above the one before it.
    local seq = math.max(now_us, previous + 1)
    local seq_text, expires = string.format('%.0f', seq), string.format('%.0f', now + life)
    local place = ',"accepted":' .. seq_text .. ',"previous":' .. previous_text
    local text = json .. place .. ',"life_ms":' .. life .. (acked ~= 0 and ',"acked":' .. acked or '') ..
      (heard == 0 and ',"unsent":true' or '') .. ',"expires_ms":' .. expires .. '}'
    life = tonumber(life)
    longest = math.max(longest, life)
    -- What no node hears waits in the inbox, and until it is acknowledged the log only refers to it. Its id does not
    -- come again before it expires: it is new or given, as no persisted message is kept.
    local is_there = keep and heard == 0
    if is_there then referred = seq end
    entries[#entries + 1] =
      is_there and '{"id":"' .. id .. '"' .. place .. ',"waits":true,"expires_ms":' .. expires .. '}' or text
    texts[#texts + 1] = text
    if keep then
      fields[#fields + 1], fields[#fields + 2] = id, text
      longest_kept = math.max(longest_kept, life)
    end
    reply(heard, keep and 1 or 0, seq, previous, tonumber(acked))
    previous, previous_text = seq, seq_text
  end

  for _ = 1, count do
    local id, json, life, keep, kind, digest, description = unpack(ARGV, argument, argument + 6)
    argument = argument + 7
    local known = seen[id]
    if kind == 'given' then
      known = known or redis.call('GET', KEYS[key])
      key = key + 1
    elseif kind == 'again' then
      known = (known or is_in_log(log, id)) and ''
    end
    local is_kept = keep == 'always' or keep == 'unheard' and heard == 0
    if known and (kind == 'given' or kind == 'again') then
      reply(-1, known, 0, 0, 0)
    elseif is_kept and not has_room() then
      reply(-2, 0, 0, 0, 0)
    else
      accept(id, json, life, is_kept, kind)
      seen[id] = digest
      if kind == 'given' then
        later[#later + 1] = {'SET', KEYS[key - 1], digest, 'PX', string.format('%.0f', math.max(1, life))}
      end
      if description ~= '' then
        described[#described + 1] = id
        described[#described + 1] = description .. heard
      end
    end
  end

  if #entries > 0 then
    -- The first write: a server that is out of memory refuses it, and nothing is half done.
    local length = redis.call('RPUSH', log, unpack(entries))
    if length == #entries or math.floor(now_us / window / 100) ~= math.floor(before / window / 100) then
      redis.call('PEXPIRE', log, string.format('%.0f', window * 1.1)) -- not with every message
    end
    if length == #entries then
      floor, oldest = before, first
    else
      floor, oldest = trim(log, #entries, floor, oldest)
    end
    local lasts = math.max(3600000, window)
    if unread > 0 then lasts = math.max(lasts, redis.call('PTTL', head)) end
    if heard == 0 then
      if unread == 0 then unread = first end
      lasts = math.max(lasts, longest)
    end
    redis.call('SET', head, string.format('%.0f %.0f %.0f %.0f %.0f', previous, floor, oldest, unread, referred),
      'PX', string.format('%.0f', lasts))
    for _, command in ipairs(later) do redis.call(unpack(command)) end
    if #fields > 0 then
      redis.call('HSET', inbox, unpack(fields))
      limit_life(inbox, waiting == 0, longest_kept)
    end
    if heard > own then
      for _, text in ipairs(texts) do redis.call(verb, channel, label .. text) end
    end
  end
end

put(1)
for user = 2, users do
  local done, described_before = #replies, #described
  if not pcall(put, user) then
    while #replies > done do replies[#replies] = nil end
    while #described > described_before do described[#described] = nil end
    break
  end
end
if #described > 0 then describe() end
return replies
