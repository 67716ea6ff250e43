// The tour of tour.mjs in headless Chromium: node browser.mjs --url ws://127.0.0.1:8080/ws
//
// The page is made up by Playwright under the router's own origin, since routers refuse pages of others.
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const here = fileURLToPath(new URL(".", import.meta.url));
const { chromium } = require("../../../../end2end/node_modules/playwright-core");
const { build } = require("esbuild");
const { version } = require("./node_modules/autobahn/package.json");

const url = process.argv[process.argv.indexOf("--url") + 1];
const page_url = url.replace(/^ws:\/\/([^/]+).*$/, "http://$1/interop-tour.html");

// Node's modules that the library names only for Node are empty in a browser.
const empty = { name: "empty", setup(it) {
  it.onResolve({ filter: /^(net|tls|fs|ws|crypto|assert|util|vm)$/ }, (asked) => ({ path: asked.path, namespace: "empty" }));
  it.onLoad({ filter: /.*/, namespace: "empty" }, () => ({ contents: `
    module.exports = () => {};
    module.exports.inherits = (one, parent) => { Object.setPrototypeOf(one.prototype, parent.prototype); Object.setPrototypeOf(one, parent); };` }));
} };
const bundle = await build({
  stdin: { contents: 'import { Buffer } from "buffer/"; import process from "process/browser"; globalThis.Buffer = Buffer; globalThis.process = process; globalThis.autobahn = require("autobahn"); '
    + 'import { walk } from "./tour.mjs"; globalThis.walk = walk;', resolveDir: here },
  absWorkingDir: here, bundle: true, write: false, format: "iife", platform: "browser", logLevel: "error",
  define: { global: "globalThis", "process.env.NODE_ENV": '"production"' },
  alias: { stream: "readable-stream" },
  plugins: [empty],
}).catch((error) => { console.error(error); process.exit(1); });

const executable = process.env.CHROMIUM ?? execFileSync("sh", ["-c", "command -v chromium || command -v google-chrome"]).toString().trim();
const browser = await chromium.launch({ executablePath: executable, args: ["--no-sandbox", "--disable-features=LocalNetworkAccessChecks"] });
const page = await browser.newPage();
page.on("pageerror", (error) => console.error(String(error)));
page.on("console", (said) => console.error(said.text()));
await page.route("**/interop-tour.html", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
await page.goto(page_url);
await page.exposeFunction("printed", (line) => console.log(line));
await page.addScriptTag({ content: bundle.outputFiles[0].text });
await page.evaluate(([url, client]) =>
  globalThis.walk({ autobahn: globalThis.autobahn, url, client, print: (line) => globalThis.printed(JSON.stringify(line)) }),
[url, `autobahn-js ${version} in chromium`]);
await browser.close();
