-- Title: Generative AI of Chinese operators
-- Description: The services of the list generative-ai whose operators are in China.
-- License: MIT
-- Expires: 1 day
-- Last modified: 2026-11-23
-- Version: ee67f6657501
-- Syntax: dnsdist script
-- Usage: dnsdist: dofile('FILE')
-- Number of entries: 144
local rules = [[
0 tree deepseekweb.cc
0 tree deepseekapi.cc
0 tree aideepseek.cc
0 tree deepseekapp.cc
0 tree deepseekplus.cc
0 tree liblib.cloud
0 tree coze.site
0 tree chatglm.site
0 tree deepseekv3.org
0 tree deepseekap.org
0 tree deepseekv3.tech
0 tree tripo3d.ai
0 tree trae.ai
0 tree pixverse.ai
0 tree kling.ai
0 tree kimi.ai
0 tree qwenlm.ai
0 tree qwen.ai
0 tree moonshot.ai
0 tree space-z.ai
0 tree z.ai
0 tree deepseeksr1.com
0 tree dola.com
0 tree deepseeksvc.com
0 tree lingma.alibabacloud.com
0 tree captcha.fengkongcloud.com
0 tree api-fp-retry-bj.fengkongcloud.com
0 tree fp-it-tracker.fengkongcloud.com
0 tree fp-it.fengkongcloud.com
0 tree qianfan.baidubce.com
0 tree pixeldance.com
0 tree marscode.com
0 exact canary-generative-ai-cn.example.com
0 tree coze.com
0 tree talkie-ai.com
0 tree kling-ai.com
0 tree baichuan-ai.com
0 tree xingyeai.com
0 tree maoxiangai.com
0 tree kechuangai.com
0 tree klingai.com
0 tree ciciai.com
0 tree qianwenai.com
0 tree hailuoai.com
0 tree deepseeksai.com
0 tree cici.com
0 tree kimi.com
0 tree hunyuan.tencentcloudapi.com
0 tree minimaxi.com
0 tree tongyi.com
0 tree deeeseek.com
0 tree hk-deepseek.com
0 tree deepseek.com
0 tree deepseekem.com
0 tree zhipucn.com
0 tree lf3-data.volccdn.com
0 tree ciciaicdn.com
0 tree doubaocdn.com
0 tree qianwen.com
0 tree api.stepfun.com
0 tree tongyi.aliyun.com
0 tree qianwen.aliyun.com
0 tree doubao.com
0 tree deepseek-go.com
0 tree xiaomimimo.com
0 tree namiso.com
0 tree qoder.com
0 tree dashscope.aliyuncs.com
0 tree dashscope-intl.aliyuncs.com
0 tree apmplus.ap-southeast-1.volces.com
0 tree tab.volces.com
0 tree ark.cn-beijing.volces.com
0 tree gator.volces.com
0 tree apmplus.volces.com
0 tree deepseekss.com
0 tree xiezuocat.com
0 tree yuanqi.tencent.com
0 tree hunyuan.tencent.com
0 tree yuanbao.tencent.com
0 tree cmpassport.com
0 tree yiyan.baidu.com
0 tree wenxin.baidu.com
0 tree vidu.com
0 tree api.lingyiwanwu.com
0 tree rwkv.com
0 tree ai.360.cn
0 tree api.360.cn
0 tree portal101.cn
0 tree miaoda.cn
0 tree butterfly-static.cn
0 tree fengkongcloud.cn
0 tree trae.cn
0 tree cozeide.cn
0 tree marscode.cn
0 tree coze.cn
0 tree tiangong.cn
0 tree picpic-ai.cn
0 tree zhipuai.cn
0 tree butterflyai.cn
0 exact ai.zhaomi.cn
0 tree bigmodel.cn
0 tree chatglm.cn
0 tree trae.com.cn
0 tree marscode.com.cn
0 tree ch-deepseek.com.cn
0 tree ai-deepseek.com.cn
0 tree cn-deepseek.com.cn
0 tree app-deepseek.com.cn
0 tree deepsiek.com.cn
0 tree deepssek.com.cn
0 tree deepseik.com.cn
0 tree www.deepseekk.com.cn
0 tree deepaesk.com.cn
0 tree deepsesk.com.cn
0 tree ai-deepseel.com.cn
0 tree deepseekl.com.cn
0 tree app-deepseekcn.com.cn
0 tree deepseek-desktop.com.cn
0 tree deepseekapp.com.cn
0 tree deepseek-fit.com.cn
0 tree n.cn
0 tree cozefn.cn
0 tree xinghuo.xfyun.cn
0 tree metaso.cn
0 tree cozebaas.cn
0 tree moonshot.cn
0 tree vidu.cn
0 tree rwkv.cn
0 tree api.siliconflow.cn
0 tree codebuddy.cn
0 tree hi-butterfly.cn
0 tree hailuoai.video
0 tree minimax.io
0 tree vidu.studio
0 tree talkie-ai.app
0 tree minimax.chat
0 tree deepseekv3.net
0 tree liblib.art
0 tree deepseekcn.cyou
0 tree deepseekaigo.cyou
0 tree trae.guru
0 tree mchost.guru
0 tree liblib.tv
0 tree meta.law
]]
local trees, names, blocked = {}, {}, nil
for level, scope, name in rules:gmatch("(%d) (%l+) (%S+)") do
  if not trees[level] then trees[level], names[level] = newSuffixMatchNode(), newDNSNameSet() end
  if scope == "tree" then trees[level]:add(newDNSName(name)) else names[level]:add(newDNSName(name)) end
end
for _, level in ipairs({"0", "1", "2", "3", "4", "5"}) do
  if trees[level] then
    local found = OrRule({SuffixMatchNodeRule(trees[level], true), QNameSetRule(names[level])})
    if level % 2 == 1 then
      blocked = blocked and AndRule({blocked, NotRule(found)})
    else
      blocked = blocked and OrRule({blocked, found}) or found
    end
  end
end
if blocked then addAction(blocked, RCodeAction(DNSRCode.NXDOMAIN)) end
