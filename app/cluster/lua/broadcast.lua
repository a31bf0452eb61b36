-- Publishes a message to all nodes unless a message of its id was published before.
-- KEYS: mark of the id, in the slot of the channel
-- ARGV: value of the mark, its life in ms, channel, PUBLISH or SPUBLISH, payload, fewest listeners that leave the mark
-- Answers the number of listeners, or the value of the mark that was there already.
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return redis.call('GET', KEYS[1]) end
local heard = redis.call(ARGV[4], ARGV[3], ARGV[5])
if heard < tonumber(ARGV[6]) then redis.call('DEL', KEYS[1]) end
return heard
