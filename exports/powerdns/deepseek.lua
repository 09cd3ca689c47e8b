-- Title: DeepSeek
-- Description: Names of the DeepSeek chat assistant, its API and apps, of the third parties that its login and apps talk to, and of look-alike sites, each with public evidence.
-- License: MIT
-- Expires: 1 day
-- Last modified: 2026-11-23
-- Version: f5bb87bceb1c
-- Syntax: PowerDNS Recursor script
-- Usage: PowerDNS Recursor: lua-dns-script=FILE
-- Number of entries: 49
-- Effect: NXDOMAIN for every type of record
local rules = [[
block tree deepseekweb.cc
block tree deepseekapi.cc
block tree aideepseek.cc
block tree deepseekapp.cc
block tree deepseekplus.cc
block tree deepseekv3.org
block tree deepseekap.org
block tree deepseekv3.tech
block tree deepseeksr1.com
block tree deepseeksvc.com
block tree captcha.fengkongcloud.com
block tree api-fp-retry-bj.fengkongcloud.com
block tree fp-it-tracker.fengkongcloud.com
block tree fp-it.fengkongcloud.com
block exact canary-deepseek.example.com
block tree deepseeksai.com
block tree deeeseek.com
block tree hk-deepseek.com
block tree deepseek.com
block tree deepseekem.com
block tree lf3-data.volccdn.com
block tree deepseek-go.com
block tree apmplus.ap-southeast-1.volces.com
block tree tab.volces.com
block tree gator.volces.com
block tree apmplus.volces.com
block tree deepseekss.com
block tree cmpassport.com
block tree portal101.cn
block tree fengkongcloud.cn
block tree ch-deepseek.com.cn
block tree ai-deepseek.com.cn
block tree cn-deepseek.com.cn
block tree app-deepseek.com.cn
block tree deepsiek.com.cn
block tree deepssek.com.cn
block tree deepseik.com.cn
block tree www.deepseekk.com.cn
block tree deepaesk.com.cn
block tree deepsesk.com.cn
block tree ai-deepseel.com.cn
block tree deepseekl.com.cn
block tree app-deepseekcn.com.cn
block tree deepseek-desktop.com.cn
block tree deepseekapp.com.cn
block tree deepseek-fit.com.cn
block tree deepseekv3.net
block tree deepseekcn.cyou
block tree deepseekaigo.cyou
]]
local exact, below = {}, {}
for action, scope, name in rules:gmatch("(%l+) (%l+) (%S+)") do
  if scope ~= "subdomains" then exact[name] = action end
  if scope ~= "exact" then below[name] = action end
end
function preresolve(dq)
  local name = newDN(dq.qname:toString())
  local action = exact[name:toStringNoDot():lower()]
  while not action and name:chopOff() do
    action = below[name:toStringNoDot():lower()]
  end
  if action ~= "block" then return false end
  dq.rcode = pdns.NXDOMAIN
  return true
end
