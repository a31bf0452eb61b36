-- All that waits in an inbox, and the mark of when it was read before; from now on all of it counts as sent.
-- KEYS: inbox, its mark
-- ARGV: most bytes of an answer
-- Answers {mark, 1, {JSON, …}}, or, where that would be too much at once, {mark, 0, {{id, bytes}, …}}.
local values = redis.call('HVALS', KEYS[1])
if #values == 0 then return {'0', 1, values} end
local mark = redis.call('GET', KEYS[2]) or '0'
local time = redis.call('TIME')
local life = math.max(1, redis.call('PTTL', KEYS[1]))
redis.pcall('SET', KEYS[2], time[1] .. string.format('%06d', time[2]), 'PX', life) -- where memory is out, reading goes on
local total = 0
for _, value in ipairs(values) do total = total + #value end
if total <= tonumber(ARGV[1]) then return {mark, 1, values} end
local sizes = {}
for _, id in ipairs(redis.call('HKEYS', KEYS[1])) do
  sizes[#sizes + 1] = {id, redis.call('HSTRLEN', KEYS[1], id)}
end
return {mark, 0, sizes}
