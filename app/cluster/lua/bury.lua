-- Marks dead nodes as cleaned up, so that it happens once. Nodes that have renewed their lease are left alone.
-- KEYS: nodes
-- ARGV: dead node, …
-- Returns nothing.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, node in ipairs(ARGV) do
  local score = tonumber(redis.call('ZSCORE', KEYS[1], node) or now + 1)
  if score >= 0 and score <= now then redis.call('ZADD', KEYS[1], -math.max(score, 1), node) end
end
