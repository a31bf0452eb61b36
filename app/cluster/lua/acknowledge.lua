-- Acknowledge messages of one user: they leave the inbox, and their ids are remembered for a while.
-- KEYS: inbox, acknowledged ids
-- ARGV: ms that they are remembered, most that are remembered, id, …
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids, marks = {}, {}
for index = 3, #ARGV do
  ids[#ids + 1] = ARGV[index]
  marks[#marks + 1] = now
  marks[#marks + 1] = ARGV[index]
end
redis.call('HDEL', KEYS[1], unpack(ids)) -- first: what frees memory is done, and what follows, while memory is out
redis.call('ZADD', KEYS[2], 'LT', unpack(marks)) -- an acknowledgement that is repeated keeps its time
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
if redis.call('ZCARD', KEYS[2]) > tonumber(ARGV[2]) then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[2])
end
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return #ids
