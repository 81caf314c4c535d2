// The view of an MCP App (SEP-1865, 2026-01-26): JSON-RPC with the host by postMessage. It renders nothing itself: the
// server's page of a result comes in `_meta`, which models do not see, or from the resource that the result names. Where
// a host hands on neither, the view shows the text of the answer.
"use strict";
(() => {
  const PAGE = "lfexp/page";
  const host = window.parent;
  const pending = new Map();
  let capabilities = {};
  let newest = 0;

  const send = (message) => host.postMessage({ jsonrpc: "2.0", ...message }, "*");
  const request = (method, params) =>
    new Promise((resolve, reject) => {
      const id = pending.size + 1;
      pending.set(id, { resolve, reject });
      send({ id, method, params });
    });

  const replace = (main) => document.querySelector("main").replaceWith(main);

  function showPage(html) {
    const main = new DOMParser().parseFromString(html, "text/html").querySelector("main");
    if (main) replace(document.adoptNode(main));
    return main !== null;
  }

  function showText(text) {
    const main = document.createElement("main");
    const shown = document.createElement("pre");
    shown.textContent = text;
    main.append(shown);
    replace(main);
  }

  async function readPage(uri) {
    if (typeof uri !== "string" || !capabilities.serverResources) return "";
    const read = await request("resources/read", { uri }).catch(() => null);
    return read?.contents?.[0]?.text ?? "";
  }

  async function showResult(result) {
    const shown = ++newest;
    const text = (result.content ?? []).filter((block) => block.type === "text").map((block) => block.text);
    showText(text.join("\n"));
    const html = result._meta?.[PAGE] ?? (await readPage(result.structuredContent?.page));
    if (html && shown === newest) showPage(html);
  }

  function adapt(context) {
    if (context?.theme) document.documentElement.dataset.theme = context.theme;
  }

  const notifications = {
    "ui/notifications/tool-result": showResult,
    "ui/notifications/tool-cancelled": () => showText("The call was cancelled."),
    "ui/notifications/host-context-changed": adapt,
  };
  const requests = ["ping", "ui/resource-teardown"];

  window.addEventListener("message", ({ source, data }) => {
    if (source !== host || data?.jsonrpc !== "2.0") return;
    if (data.method === undefined) {
      const call = pending.get(data.id);
      if (call) data.error ? call.reject(data.error) : call.resolve(data.result);
    } else if (data.id === undefined) {
      notifications[data.method]?.(data.params ?? {});
    } else if (requests.includes(data.method)) {
      send({ id: data.id, result: {} });
    } else {
      send({ id: data.id, error: { code: -32601, message: "Method not found" } });
    }
  });

  // In a sandbox an anchor opens nothing: the host asks the user, and opens it.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link) return;
    event.preventDefault();
    request("ui/open-link", { url: link.href }).catch(() => {});
  });

  request("ui/initialize", {
    protocolVersion: "2026-01-26",
    appInfo: { name: "lfexp-mcp", version: "1" },
    appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
  }).then((initialised) => {
    capabilities = initialised.hostCapabilities ?? {};
    adapt(initialised.hostContext);
    send({ method: "ui/notifications/initialized" });
    new ResizeObserver(() => {
      const { scrollWidth, offsetHeight } = document.body;
      send({ method: "ui/notifications/size-changed", params: { width: scrollWidth, height: offsetHeight } });
    }).observe(document.body);
  });
})();
