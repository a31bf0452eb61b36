-- Publishes a message to all nodes with a seq comparable to those of user messages, unless its id was published before.
-- KEYS: mark of the id, in the slot of the channel
-- ARGV: value of the mark or '' for none, its lifetime in ms, channel, PUBLISH or SPUBLISH, payload up
--       to its seq, payload after it, fewest listeners that leave the mark
-- Returns {listeners, seq}, or the value of an existing mark.
local mark = ARGV[1]
if mark ~= '' and not redis.call('SET', KEYS[1], mark, 'NX', 'PX', ARGV[2]) then return redis.call('GET', KEYS[1]) end
local time = redis.call('TIME')
local seq = time[1] * 1000000 + time[2]
local heard = redis.call(ARGV[4], ARGV[3], ARGV[5] .. string.format('%.0f', seq) .. ARGV[6])
if mark ~= '' and heard < tonumber(ARGV[7]) then redis.call('DEL', KEYS[1]) end
return {heard, seq}
