// TensorFlow.js in Node.js, on the devices `cpu` (plain JavaScript) and `wasm`.
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { setThreadsCount } from "@tensorflow/tfjs-backend-wasm";
import { layers, version_layers } from "@tensorflow/tfjs-layers";
import { serve } from "./protocol.mjs";
import { backend } from "./tfjs_layers.mjs";

setThreadsCount(1); // so that a sum does not depend on how many cores there are

await serve(await backend({ tf, layers, version: version_layers, name: "tfjs", offered: ["cpu", "wasm"] }));
