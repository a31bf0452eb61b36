-- Sessions of one user on one node live on, except those whose device has had a newer one since.
-- KEYS: sessions of the user, devices of the user
-- ARGV: ms to live, then for each session: member, device or '', turn
-- Answers {members that were replaced}; more may follow behind.
local sessions, devices, life = KEYS[1], KEYS[2], ARGV[1]
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + life
local replaced = {}
for index = 2, #ARGV, 3 do
  local member, device, turn = ARGV[index], ARGV[index + 1], ARGV[index + 2]
  local known = device ~= '' and redis.call('HGET', devices, device) or ''
  local last, owner = known:match('^(%d+) (.*)$')
  if owner and owner ~= member and tonumber(last) > tonumber(turn) then
    table.insert(replaced, member)
  else
    if device ~= '' and owner ~= member then  -- Redis has lost what it knew, or has only what was before
      if owner then redis.call('ZREM', sessions, owner) end
      redis.call('HSET', devices, device, turn .. ' ' .. member)
    end
    redis.call('ZADD', sessions, expires, member)
  end
end
redis.call('PEXPIRE', sessions, life)
redis.call('PEXPIRE', devices, life)
return {replaced}
