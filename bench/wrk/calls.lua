-- Requests for wrk, each of them new: wrk … -s calls.lua ADDRESS -- BODIES NAME
--
-- BODIES is a file of request bodies, one a line, in which @ stands for the request's name: NAME, the thread and a count.
-- What was seen is the last line of stdout, as JSON; times in microseconds.

local threads = 0

function setup(thread)
   thread:set("thread_number", threads)
   threads = threads + 1
end

function init(args)
   bodies = {}
   for line in io.lines(args[1]) do
      local pieces, from = {}, 1
      local at = line:find("@", 1, true)
      while at do
         pieces[#pieces + 1] = line:sub(from, at - 1)
         pieces[#pieces + 1] = "@"
         from = at + 1
         at = line:find("@", from, true)
      end
      pieces[#pieces + 1] = line:sub(from)
      bodies[#bodies + 1] = pieces
   end
   named = args[2] .. "-" .. thread_number .. "-"
   made = 0
   wrk.method = "POST"
end

function request()
   made = made + 1
   local pieces = bodies[made % #bodies + 1]
   local name = named .. made
   for place = 2, #pieces, 2 do
      pieces[place] = name
   end
   return wrk.format(nil, nil, nil, table.concat(pieces))
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"broken":%d,"late":%d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.status, errors.connect + errors.read + errors.write, errors.timeout
   ))
end
