// A client of the TypeScript SDK, told line by line on stdin which tools to call: `node bridge.mjs 1|2`.
//
// The first line says where the server is. Packages are found in the folder in which it is run.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.cwd()}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)).href);

const isFirst = process.argv[2] === "1";
const packages = isFirst
  ? ["index.js", "stdio.js", "streamableHttp.js"].map((file) => `@modelcontextprotocol/sdk/client/${file}`)
  : ["", "/stdio", ""].map((part) => `@modelcontextprotocol/client${part}`);
const [{ Client }, { StdioClientTransport }, { StreamableHTTPClientTransport }] = await Promise.all(packages.map(load));

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const server = JSON.parse((await lines.next()).value);
const say = (message) => console.log(JSON.stringify(message));

const client = new Client({ name: "bridge", version: "0" }, { versionNegotiation: { mode: "auto" } });
await client.connect(
  server.url
    ? new StreamableHTTPClientTransport(new URL(server.url), { requestInit: { headers: server.headers } })
    : new StdioClientTransport({ ...server, stderr: "ignore" }),
);
const { tools } = await client.listTools();
say({ tools: tools.map((tool) => tool.name), version: client.getNegotiatedProtocolVersion?.() ?? null });

for await (const line of lines) {
  const { abandon, ...call } = JSON.parse(line);
  const leaving = new AbortController();
  const options = { timeout: 180_000, signal: leaving.signal };
  if (abandon) options.onprogress = () => leaving.abort();
  try {
    const { isError, structuredContent } = await (isFirst
      ? client.callTool(call, undefined, options)
      : client.callTool(call, options));
    say({ isError: isError ?? false, structuredContent });
  } catch (error) {
    if (!leaving.signal.aborted) throw error;
    say({ abandoned: true });
  }
}
await client.close();
