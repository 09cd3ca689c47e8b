-- Title: Generative AI of Chinese operators
-- Description: The services of the list generative-ai whose operators are in China.
-- License: MIT
-- Expires: 1 day
-- Last modified: 2026-11-23
-- Version: ee67f6657501
-- Syntax: PowerDNS Recursor script
-- Usage: PowerDNS Recursor: lua-dns-script=FILE
-- Number of entries: 144
-- Effect: NXDOMAIN for every type of record
local rules = [[
block tree deepseekweb.cc
block tree deepseekapi.cc
block tree aideepseek.cc
block tree deepseekapp.cc
block tree deepseekplus.cc
block tree liblib.cloud
block tree coze.site
block tree chatglm.site
block tree deepseekv3.org
block tree deepseekap.org
block tree deepseekv3.tech
block tree tripo3d.ai
block tree trae.ai
block tree pixverse.ai
block tree kling.ai
block tree kimi.ai
block tree qwenlm.ai
block tree qwen.ai
block tree moonshot.ai
block tree space-z.ai
block tree z.ai
block tree deepseeksr1.com
block tree dola.com
block tree deepseeksvc.com
block tree lingma.alibabacloud.com
block tree captcha.fengkongcloud.com
block tree api-fp-retry-bj.fengkongcloud.com
block tree fp-it-tracker.fengkongcloud.com
block tree fp-it.fengkongcloud.com
block tree qianfan.baidubce.com
block tree pixeldance.com
block tree marscode.com
block exact canary-generative-ai-cn.example.com
block tree coze.com
block tree talkie-ai.com
block tree kling-ai.com
block tree baichuan-ai.com
block tree xingyeai.com
block tree maoxiangai.com
block tree kechuangai.com
block tree klingai.com
block tree ciciai.com
block tree qianwenai.com
block tree hailuoai.com
block tree deepseeksai.com
block tree cici.com
block tree kimi.com
block tree hunyuan.tencentcloudapi.com
block tree minimaxi.com
block tree tongyi.com
block tree deeeseek.com
block tree hk-deepseek.com
block tree deepseek.com
block tree deepseekem.com
block tree zhipucn.com
block tree lf3-data.volccdn.com
block tree ciciaicdn.com
block tree doubaocdn.com
block tree qianwen.com
block tree api.stepfun.com
block tree tongyi.aliyun.com
block tree qianwen.aliyun.com
block tree doubao.com
block tree deepseek-go.com
block tree xiaomimimo.com
block tree namiso.com
block tree qoder.com
block tree dashscope.aliyuncs.com
block tree dashscope-intl.aliyuncs.com
block tree apmplus.ap-southeast-1.volces.com
block tree tab.volces.com
block tree ark.cn-beijing.volces.com
block tree gator.volces.com
block tree apmplus.volces.com
block tree deepseekss.com
block tree xiezuocat.com
block tree yuanqi.tencent.com
block tree hunyuan.tencent.com
block tree yuanbao.tencent.com
block tree cmpassport.com
block tree yiyan.baidu.com
block tree wenxin.baidu.com
block tree vidu.com
block tree api.lingyiwanwu.com
block tree rwkv.com
block tree ai.360.cn
block tree api.360.cn
block tree portal101.cn
block tree miaoda.cn
block tree butterfly-static.cn
block tree fengkongcloud.cn
block tree trae.cn
block tree cozeide.cn
block tree marscode.cn
block tree coze.cn
block tree tiangong.cn
block tree picpic-ai.cn
block tree zhipuai.cn
block tree butterflyai.cn
block exact ai.zhaomi.cn
block tree bigmodel.cn
block tree chatglm.cn
block tree trae.com.cn
block tree marscode.com.cn
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
block tree n.cn
block tree cozefn.cn
block tree xinghuo.xfyun.cn
block tree metaso.cn
block tree cozebaas.cn
block tree moonshot.cn
block tree vidu.cn
block tree rwkv.cn
block tree api.siliconflow.cn
block tree codebuddy.cn
block tree hi-butterfly.cn
block tree hailuoai.video
block tree minimax.io
block tree vidu.studio
block tree talkie-ai.app
block tree minimax.chat
block tree deepseekv3.net
block tree liblib.art
block tree deepseekcn.cyou
block tree deepseekaigo.cyou
block tree trae.guru
block tree mchost.guru
block tree liblib.tv
block tree meta.law
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
