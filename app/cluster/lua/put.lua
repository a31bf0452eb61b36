-- Accepts messages for users and publishes them to the nodes that watch these users. The messages of one user are
-- accepted together or not at all.
-- KEYS: the ring of hashes for descriptions; for each user: inbox, its mark of a search for expired messages, log, head,
--       acknowledged ids, and behind them the mark of the id for each `given` message of the user
-- ARGV: PUBLISH or SPUBLISH, header of a payload, most messages of an inbox, ms that the log keeps a message, ms that
--       descriptions are kept, hashes in their ring, number of users; for each user: channel, 1 if the asking node
--       listens to it or 0, number of messages; then for each message: id, JSON of the message without its last brace,
--       ms of its lifetime, when the inbox keeps it (always, never, or unheard: if no node listens), new, given (the
--       caller chose the id), stored (a persisted message) or again (one that may have been accepted before), digest of
--       the content, description or ''
-- Returns for each message: listening nodes, kept, seq, previous seq, ms of its acknowledgement or 0; or -1, digest, 0,
-- 0, 0 for a known id; or -2, 0, 0, 0, 0 if the inbox is full. It ends early at a user whose keys cannot be used.
local verb, label, most, window = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local ring, users = tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
-- Lifetimes are measured by the server's clock, because the clocks of nodes may be wrong.
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

-- An entry of another program counts as expired. Matching the tail is much cheaper than the whole text.
local function is_over(entry)
  return (tonumber(string.match(string.sub(entry, -40), '"expires_ms":(%d+)}$')) or 0) <= now
end

-- At most once a second, as it reads the whole inbox and callers may keep pushing to an offline user.
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

-- The inbox lives a little longer than its newest message, so that not every message prolongs it. This is the last
-- step, because a time in the past removes the inbox at once.
local function limit_life(inbox, was_empty, life)
  local left = was_empty and -1 or redis.call('PTTL', inbox)
  if left < 0 or left < life then
    redis.call('PEXPIRE', inbox, string.format('%.0f', life + math.min(math.max(0, life) / 10, 10000)))
  end
end

-- The server's time selects the hash of the ring to write to. When it is new, the oldest one is unlinked in the
-- background, as expiring so many fields would block Redis. If a key cannot be used, nothing is described.
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

-- The state of the user whose messages are being accepted, shared by the functions below. Upvalues instead would make
-- the script start slowly.
local function next_user(number)
  local inbox, full, log, head, acknowledged = unpack(KEYS, key, key + 4)
  key = key + 5
  local previous, floor, oldest, unread, referred =
    string.match(redis.call('GET', head) or '', '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  previous = tonumber(previous) or 0
  return {
    inbox = inbox, full = full, log = log, head = head, acknowledged = acknowledged, heard = listening[2 * number],
    before = previous, previous = previous, floor = tonumber(floor) or 0, oldest = tonumber(oldest) or 0,
    unread = tonumber(unread) or 0, referred = tonumber(referred) or 0, first = math.max(now_us, previous + 1),
    texts = {}, entries = {}, fields = {}, later = {}, seen = {}, longest = 1, longest_kept = -math.huge,
    waiting = false, logged = false, -- the size of the inbox and the ids in the log, read on demand
  }
end

local function has_room(user)
  local added = #user.fields / 2
  user.waiting = user.waiting or redis.call('HLEN', user.inbox)
  if user.waiting + added < most then return true end
  drop_expired(user.inbox, user.full)
  user.waiting = redis.call('HLEN', user.inbox)
  return user.waiting + added < most
end

-- Reads the log once for all messages of the user, in parts, as its entries may be large.
local function is_in_log(user, id)
  if not user.logged then
    user.logged = {}
    for last = -1, -1000, -50 do
      local part = redis.call('LRANGE', user.log, last - 49, last)
      for _, entry in ipairs(part) do user.logged[string.match(entry, '^{"id":"([^"]*)"') or ''] = true end
      if #part < 50 then break end
    end
  end
  return user.logged[id]
end

local function accept(user, id, json, life, keep, kind)
  local heard, previous = user.heard, user.previous
  -- A device may have found a persisted message in the archive and acknowledged it before this put arrived.
  local acked = (kind == 'stored' or kind == 'again') and redis.call('ZSCORE', user.acknowledged, id) or 0
  -- The seq is the time in µs, and always greater than the one before it.
  local seq = math.max(now_us, previous + 1)
  local place = string.format(',"accepted":%.0f,"previous":%.0f', seq, previous)
  local expires = string.format(',"expires_ms":%.0f}', now + life)
  local text = json .. place .. ',"life_ms":' .. life .. (acked ~= 0 and ',"acked":' .. acked or '') ..
    (heard == 0 and ',"unsent":true' or '') .. expires
  life = tonumber(life)
  user.longest = math.max(user.longest, life)
  -- A message that no node receives waits in the inbox, and the log only refers to it until it is acknowledged. Its
  -- id cannot repeat before it expires: it is new or given, as persisted messages are not kept here.
  local is_there = keep and heard == 0
  if is_there then user.referred = seq end
  local entries, texts, fields = user.entries, user.texts, user.fields
  entries[#entries + 1] = is_there and '{"id":"' .. id .. '"' .. place .. ',"waits":true' .. expires or text
  texts[#texts + 1] = text
  if keep then
    fields[#fields + 1], fields[#fields + 2] = id, text
    user.longest_kept = math.max(user.longest_kept, life)
  end
  reply(heard, keep and 1 or 0, seq, previous, tonumber(acked))
  user.previous = seq
end

local function next_message(user)
  local id, json, life, keep, kind, digest, description = unpack(ARGV, argument, argument + 6)
  argument = argument + 7
  local known, mark = user.seen[id], nil
  if kind == 'given' then
    mark, key = KEYS[key], key + 1
    known = known or redis.call('GET', mark)
  elseif kind == 'again' then
    known = (known or is_in_log(user, id)) and ''
  end
  local is_kept = keep == 'always' or keep == 'unheard' and user.heard == 0
  if known and (kind == 'given' or kind == 'again') then return reply(-1, known, 0, 0, 0) end
  if is_kept and not has_room(user) then return reply(-2, 0, 0, 0, 0) end
  accept(user, id, json, life, is_kept, kind)
  user.seen[id] = digest
  if mark then
    user.later[#user.later + 1] = {'SET', mark, digest, 'PX', string.format('%.0f', math.max(1, life))}
  end
  if description ~= '' then
    described[#described + 1] = id
    described[#described + 1] = description .. user.heard
  end
end

local function write_log(user)
  local log, taken = user.log, #user.entries
  local length = redis.call('RPUSH', log, unpack(user.entries))
  if length == taken or math.floor(now_us / window / 100) ~= math.floor(user.before / window / 100) then
    redis.call('PEXPIRE', log, string.format('%.0f', window * 1.1)) -- not with every message
  end
  if length == taken then
    user.floor, user.oldest = user.before, user.first
  else
    user.floor, user.oldest = trim(log, taken, user.floor, user.oldest)
  end
end

local function write_head(user)
  local lasts, unread = math.max(3600000, window), user.unread
  if unread > 0 then lasts = math.max(lasts, redis.call('PTTL', user.head)) end
  if user.heard == 0 then
    if unread == 0 then unread = user.first end
    lasts = math.max(lasts, user.longest)
  end
  local state = string.format(
    '%.0f %.0f %.0f %.0f %.0f', user.previous, user.floor, user.oldest, unread, user.referred)
  redis.call('SET', user.head, state, 'PX', lasts) -- whole ms
end

local function put(number)
  local channel, own = ARGV[5 + 3 * number], tonumber(ARGV[6 + 3 * number])
  local user = next_user(number)
  for _ = 1, tonumber(ARGV[7 + 3 * number]) do next_message(user) end
  if #user.entries == 0 then return end
  write_log(user) -- the first write of a user: it fails while the server is out of memory
  write_head(user)
  for _, command in ipairs(user.later) do redis.call(unpack(command)) end
  if #user.fields > 0 then
    redis.call('HSET', user.inbox, unpack(user.fields))
    limit_life(user.inbox, user.waiting == 0, user.longest_kept)
  end
  if user.heard > own then
    for _, text in ipairs(user.texts) do redis.call(verb, channel, label .. text) end
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
