-- Puts nudges into their queues as arq jobs and rings a bell for each.
-- KEYS: queues. ARGV: the job's JSON before and after the batch id, milliseconds a job is kept;
-- then for each queue the number of its batches, and their ids.
local head, tail, keep = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 4
for _, queue in ipairs(KEYS) do
  local count = tonumber(ARGV[at])
  local members, bells = {}, {}
  for i = at + 1, at + count do
    local job_id = 'nudge:' .. ARGV[i]
    redis.call('SET', 'arq:job:' .. job_id, head .. cjson.encode(ARGV[i]) .. tail, 'NX', 'PX', keep)
    members[#members + 1] = now
    members[#members + 1] = job_id
    if #bells < 64 then bells[#bells + 1] = 1 end
  end
  redis.call('ZADD', queue, 'NX', unpack(members))
  redis.call('LPUSH', queue .. ':bell', unpack(bells))
  redis.call('LTRIM', queue .. ':bell', 0, 63)
  at = at + count + 1
end
