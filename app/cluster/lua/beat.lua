-- Renews the lease of a node and returns the other nodes. The score of a member is the end of its lease in ms; `bury`
-- makes it negative once the records of a dead node are removed.
-- KEYS: nodes
-- ARGV: node, ms of the lease
-- Returns {1 if the node was new or had lost its lease, live nodes, dead nodes, nodes buried for less than one lease}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. (ARGV[2] - now), '(0')
return {
  (before and tonumber(before) > now) and 0 or 1,
  redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE'),
  redis.call('ZRANGE', KEYS[1], 0, now, 'BYSCORE'),
  redis.call('ZRANGE', KEYS[1], '-inf', '(0', 'BYSCORE'),
}
