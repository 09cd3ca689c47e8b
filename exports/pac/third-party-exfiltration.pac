// Title: Telemetry and third parties of generative AI
// Description: Names that AI services send data to beside their own answers: their telemetry, fingerprinting, identity services and analytics of others. Blocking it alone leaves most services usable.
// License: MIT
// Expires: 1 day
// Last modified: 2026-11-23
// Version: 7df62884a919
// Syntax: proxy auto-configuration
// Usage: the URL of the automatic proxy configuration in a browser or system
// Number of entries: 21
var exact = {}, below = {};
function put(name, scope, blocked) {
  if (scope & 1) exact[name] = blocked;
  if (scope & 2) below[name] = blocked;
}
function b(name, scope) { put(name, scope, true); }
function a(name, scope) { put(name, scope, false); }
b("statsig.anthropic.com",3);
b("harness-telemetry.deepseeksvc.com",3);
b("captcha.fengkongcloud.com",3);
b("api-fp-retry-bj.fengkongcloud.com",3);
b("fp-it-tracker.fengkongcloud.com",3);
b("fp-it.fengkongcloud.com",3);
b("canary-third-party-exfiltration.example.com",1);
b("hif-leim.deepseek.com",3);
b("hif-dliq.deepseek.com",3);
b("lf3-data.volccdn.com",3);
b("apmplus.ap-southeast-1.volces.com",3);
b("tab.volces.com",3);
b("gator.volces.com",3);
b("apmplus.volces.com",3);
b("copilot-telemetry-service.githubusercontent.com",1);
b("copilot-telemetry.githubusercontent.com",3);
b("cmpassport.com",3);
b("portal101.cn",3);
b("fengkongcloud.cn",3);
b("o33249.ingest.sentry.io",1);
b("openaicom.imgix.net",1);
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
