// Title: Generative AI of Chinese operators
// Description: The services of the list generative-ai whose operators are in China.
// License: MIT
// Expires: 1 day
// Last modified: 2026-11-23
// Version: ee67f6657501
// Syntax: proxy auto-configuration
// Usage: the URL of the automatic proxy configuration in a browser or system
// Number of entries: 144
var exact = {}, below = {};
function put(name, scope, blocked) {
  if (scope & 1) exact[name] = blocked;
  if (scope & 2) below[name] = blocked;
}
function b(name, scope) { put(name, scope, true); }
function a(name, scope) { put(name, scope, false); }
b("deepseekweb.cc",3);
b("deepseekapi.cc",3);
b("aideepseek.cc",3);
b("deepseekapp.cc",3);
b("deepseekplus.cc",3);
b("liblib.cloud",3);
b("coze.site",3);
b("chatglm.site",3);
b("deepseekv3.org",3);
b("deepseekap.org",3);
b("deepseekv3.tech",3);
b("tripo3d.ai",3);
b("trae.ai",3);
b("pixverse.ai",3);
b("kling.ai",3);
b("kimi.ai",3);
b("qwenlm.ai",3);
b("qwen.ai",3);
b("moonshot.ai",3);
b("space-z.ai",3);
b("z.ai",3);
b("deepseeksr1.com",3);
b("dola.com",3);
b("deepseeksvc.com",3);
b("lingma.alibabacloud.com",3);
b("captcha.fengkongcloud.com",3);
b("api-fp-retry-bj.fengkongcloud.com",3);
b("fp-it-tracker.fengkongcloud.com",3);
b("fp-it.fengkongcloud.com",3);
b("qianfan.baidubce.com",3);
b("pixeldance.com",3);
b("marscode.com",3);
b("canary-generative-ai-cn.example.com",1);
b("coze.com",3);
b("talkie-ai.com",3);
b("kling-ai.com",3);
b("baichuan-ai.com",3);
b("xingyeai.com",3);
b("maoxiangai.com",3);
b("kechuangai.com",3);
b("klingai.com",3);
b("ciciai.com",3);
b("qianwenai.com",3);
b("hailuoai.com",3);
b("deepseeksai.com",3);
b("cici.com",3);
b("kimi.com",3);
b("hunyuan.tencentcloudapi.com",3);
b("minimaxi.com",3);
b("tongyi.com",3);
b("deeeseek.com",3);
b("hk-deepseek.com",3);
b("deepseek.com",3);
b("deepseekem.com",3);
b("zhipucn.com",3);
b("lf3-data.volccdn.com",3);
b("ciciaicdn.com",3);
b("doubaocdn.com",3);
b("qianwen.com",3);
b("api.stepfun.com",3);
b("tongyi.aliyun.com",3);
b("qianwen.aliyun.com",3);
b("doubao.com",3);
b("deepseek-go.com",3);
b("xiaomimimo.com",3);
b("namiso.com",3);
b("qoder.com",3);
b("dashscope.aliyuncs.com",3);
b("dashscope-intl.aliyuncs.com",3);
b("apmplus.ap-southeast-1.volces.com",3);
b("tab.volces.com",3);
b("ark.cn-beijing.volces.com",3);
b("gator.volces.com",3);
b("apmplus.volces.com",3);
b("deepseekss.com",3);
b("xiezuocat.com",3);
b("yuanqi.tencent.com",3);
b("hunyuan.tencent.com",3);
b("yuanbao.tencent.com",3);
b("cmpassport.com",3);
b("yiyan.baidu.com",3);
b("wenxin.baidu.com",3);
b("vidu.com",3);
b("api.lingyiwanwu.com",3);
b("rwkv.com",3);
b("ai.360.cn",3);
b("api.360.cn",3);
b("portal101.cn",3);
b("miaoda.cn",3);
b("butterfly-static.cn",3);
b("fengkongcloud.cn",3);
b("trae.cn",3);
b("cozeide.cn",3);
b("marscode.cn",3);
b("coze.cn",3);
b("tiangong.cn",3);
b("picpic-ai.cn",3);
b("zhipuai.cn",3);
b("butterflyai.cn",3);
b("ai.zhaomi.cn",1);
b("bigmodel.cn",3);
b("chatglm.cn",3);
b("trae.com.cn",3);
b("marscode.com.cn",3);
b("ch-deepseek.com.cn",3);
b("ai-deepseek.com.cn",3);
b("cn-deepseek.com.cn",3);
b("app-deepseek.com.cn",3);
b("deepsiek.com.cn",3);
b("deepssek.com.cn",3);
b("deepseik.com.cn",3);
b("www.deepseekk.com.cn",3);
b("deepaesk.com.cn",3);
b("deepsesk.com.cn",3);
b("ai-deepseel.com.cn",3);
b("deepseekl.com.cn",3);
b("app-deepseekcn.com.cn",3);
b("deepseek-desktop.com.cn",3);
b("deepseekapp.com.cn",3);
b("deepseek-fit.com.cn",3);
b("n.cn",3);
b("cozefn.cn",3);
b("xinghuo.xfyun.cn",3);
b("metaso.cn",3);
b("cozebaas.cn",3);
b("moonshot.cn",3);
b("vidu.cn",3);
b("rwkv.cn",3);
b("api.siliconflow.cn",3);
b("codebuddy.cn",3);
b("hi-butterfly.cn",3);
b("hailuoai.video",3);
b("minimax.io",3);
b("vidu.studio",3);
b("talkie-ai.app",3);
b("minimax.chat",3);
b("deepseekv3.net",3);
b("liblib.art",3);
b("deepseekcn.cyou",3);
b("deepseekaigo.cyou",3);
b("trae.guru",3);
b("mchost.guru",3);
b("liblib.tv",3);
b("meta.law",3);
function has(table, name) { return Object.prototype.hasOwnProperty.call(table, name); }
function blocked(host) {
  var name = host.toLowerCase().replace(/\.$/, "");
  if (has(exact, name)) return exact[name];
  for (var at = name.indexOf("."); at >= 0; at = name.indexOf(".")) {
    name = name.substring(at + 1);
    if (has(below, name)) return below[name];
  }
  return false;
}
function FindProxyForURL(url, host) { return blocked(host) ? "PROXY 127.0.0.1:9" : "DIRECT"; }
