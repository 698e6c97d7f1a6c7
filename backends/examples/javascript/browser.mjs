// Implementations that run in a browser: `node browser.mjs tfjs` or `node browser.mjs onnxruntime-web`.
// Chromium is started without a window, its GPU being SwiftShader, and opens page.html from a server of this process. The page
// fetches the next request with the answer to the last one, so that a request costs one exchange with the browser.
// BNCONFORM_CHROMIUM names the browser (default: /usr/bin/chromium).
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { relay } from "./protocol.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const OFFLINE = ["--disable-background-networking", "--disable-component-update", "--disable-quic", "--disable-sync"];
const GPU = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

// One request at a time waits for the page, and the page waits for one request at a time.
class Exchange {
  waiting = []; // the page's fetches that have no request yet: at most one
  asked = []; // requests that the page has not fetched yet: at most one
  answered = null; // what takes the next answer
  began = false; // whether the page has fetched anything
  ask(line) {
    return new Promise((resolve) => {
      this.answered = resolve;
      const page = this.waiting.shift();
      if (page) page(line);
      else this.asked.push(line);
    });
  }
  next(answer) {
    this.began = true;
    if (answer) this.answered(answer);
    return new Promise((resolve) => (this.asked.length ? resolve(this.asked.shift()) : this.waiting.push(resolve)));
  }
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

function server(exchange) {
  return createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    try {
      if (request.method === "POST") {
        response.setHeader("content-type", "application/json");
        return response.end(await exchange.next(await body(request)));
      }
      const content = await readFile(join(HERE, normalize(path)));
      response.setHeader("content-type", TYPES[extname(path)] ?? "application/octet-stream");
      return response.end(content);
    } catch {
      return response.writeHead(404).end();
    }
  });
}

const exchange = new Exchange();
const files = server(exchange).listen(0, "127.0.0.1");
await new Promise((resolve) => files.once("listening", resolve));
const browser = await chromium.launch({
  executablePath: process.env.BNCONFORM_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--no-first-run", ...OFFLINE, ...GPU],
});
const page = await browser.newPage();
const lost = (why) => {
  console.error(`the page is lost: ${why}`);
  process.exit(1);
};
page.on("crash", () => lost("its process crashed"));
// Before the first answer the page itself has failed; later an error that nobody awaited is no answer.
page.on("pageerror", (error) => (exchange.began ? console.error(error.message) : lost(error.message)));
browser.on("disconnected", () => lost("the browser ended"));
page.on("console", (message) => console.error(message.text()));
await page.goto(`http://127.0.0.1:${files.address().port}/page.html?${process.argv[2] ?? ""}`);
await relay((line) => exchange.ask(line));
process.exit(0); // which ends the browser, too
