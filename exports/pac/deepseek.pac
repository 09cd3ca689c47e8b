// Title: DeepSeek
// Description: Names of the DeepSeek chat assistant, its API and apps, of the third parties that its login and apps talk to, and of look-alike sites, each with public evidence.
// License: MIT
// Expires: 1 day
// Last modified: 2026-11-23
// Version: f5bb87bceb1c
// Syntax: proxy auto-configuration
// Usage: the URL of the automatic proxy configuration in a browser or system
// Number of entries: 49
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
b("deepseekv3.org",3);
b("deepseekap.org",3);
b("deepseekv3.tech",3);
b("deepseeksr1.com",3);
b("deepseeksvc.com",3);
b("captcha.fengkongcloud.com",3);
b("api-fp-retry-bj.fengkongcloud.com",3);
b("fp-it-tracker.fengkongcloud.com",3);
b("fp-it.fengkongcloud.com",3);
b("canary-deepseek.example.com",1);
b("deepseeksai.com",3);
b("deeeseek.com",3);
b("hk-deepseek.com",3);
b("deepseek.com",3);
b("deepseekem.com",3);
b("lf3-data.volccdn.com",3);
b("deepseek-go.com",3);
b("apmplus.ap-southeast-1.volces.com",3);
b("tab.volces.com",3);
b("gator.volces.com",3);
b("apmplus.volces.com",3);
b("deepseekss.com",3);
b("cmpassport.com",3);
b("portal101.cn",3);
b("fengkongcloud.cn",3);
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
b("deepseekv3.net",3);
b("deepseekcn.cyou",3);
b("deepseekaigo.cyou",3);
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
