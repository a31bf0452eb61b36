-- Removes the records of dead nodes from a ledger, one bounded step per call.
-- KEYS: ledger
-- ARGV: cursor of HSCAN, records to check, dead node, …
-- Returns {next cursor, number of removed records}; the cursor is 0 at the end.
local dead = {}
for index = 3, #ARGV do dead[ARGV[index]] = true end
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local removed = 0
for index = 1, #page[2], 2 do
  local node = string.match(string.sub(page[2][index + 1], -100), '"node":"([^"]*)"}$')
  if node and dead[node] then removed = removed + redis.call('HDEL', KEYS[1], page[2][index]) end
end
return {page[1], removed}
