-- All that waits in an inbox, and the mark of when it was read before; from now on all of it counts as sent.
-- KEYS: inbox, its mark
-- ARGV: most bytes of an answer
-- Answers {mark, 1, {JSON, …}}, or, where that would be too much at once, {mark, 0, {{id, bytes}, …}}.
local ids = redis.call('HKEYS', KEYS[1])
if #ids == 0 then return {'0', 1, ids} end
local mark = redis.call('GET', KEYS[2]) or '0'
local time = redis.call('TIME')
local life = math.max(1, redis.call('PTTL', KEYS[1]))
redis.pcall('SET', KEYS[2], time[1] .. string.format('%06d', time[2]), 'PX', life) -- where memory is out, reading goes on
local sizes, total = {}, 0
for index, id in ipairs(ids) do
  local size = redis.call('HSTRLEN', KEYS[1], id)
  sizes[index], total = {id, size}, total + size
end
if total <= tonumber(ARGV[1]) then return {mark, 1, redis.call('HVALS', KEYS[1])} end
return {mark, 0, sizes}
