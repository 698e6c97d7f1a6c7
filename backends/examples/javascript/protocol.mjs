// bnconform/1 in Node.js: requests on standard input, answers on standard output; see PROTOCOL.md.
import { createInterface } from "node:readline";
import { answering } from "./conversation.mjs";

export { Failed, Unsupported } from "./conversation.mjs";

// What a library prints goes to standard error: standard output is the conversation's.
for (const name of ["log", "info", "debug", "warn"]) console[name] = console.error;

// `answer` is asynchronous, from a line to a line.
export async function relay(answer) {
  for await (const line of createInterface({ input: process.stdin })) process.stdout.write(`${await answer(line)}\n`);
}

export const serve = (backend) => relay(answering(backend));
