-- Prolongs the entries of one user's sessions on one node, except those whose device has a newer session.
-- KEYS: sessions of the user, devices of the user, head of the user's messages
-- ARGV: lifetime in ms, then for each session: member, device or '', turn
-- Returns {{member that was replaced, …}, seq of the user's latest message or 0}.
local sessions, devices, life = KEYS[1], KEYS[2], ARGV[1]
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + life
local replaced = {}
for index = 2, #ARGV, 3 do
  local member, device, turn = ARGV[index], ARGV[index + 1], ARGV[index + 2]
  local known = device ~= '' and redis.call('HGET', devices, device) or ''
  local last, owner, is_sure = known:match('^(%d+) (%S+)( ?%a*)$')
  local has_newer = owner and owner ~= member and tonumber(last) > tonumber(turn)
  if has_newer and is_sure ~= '' then
    table.insert(replaced, member)
  else
    -- A newer session counts once its own node has refreshed it: the late join of an abandoned attempt must not end the
    -- session that the client uses.
    local is_ghost = has_newer and not redis.call('ZSCORE', sessions, owner)
    if device ~= '' and (not has_newer or is_ghost) then
      if owner and owner ~= member then redis.call('ZREM', sessions, owner) end
      redis.call('HSET', devices, device, (is_ghost and last or turn) .. ' ' .. member .. ' sure')
    end
    redis.call('ZADD', sessions, expires, member)
  end
end
redis.call('PEXPIRE', sessions, life)
redis.call('PEXPIRE', devices, life)
redis.call('PEXPIRE', KEYS[3], 3600000, 'GT') -- nodes have cursors in this history
local head = string.match(redis.call('GET', KEYS[3]) or '', '^(%d+) %d+ %d+ %d+ %d+$') or '0'
return {replaced, tonumber(head)}
