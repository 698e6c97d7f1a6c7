// What is asked and answered in bnconform/1, request by request, in Node.js and in a browser; see PROTOCOL.md.
// A backend has `hello`, and `build(config, device)` and `buildDefault(channels, device)`, which give a layer; a layer
// has `forward`, `state` and `load`, and may have `backward` and `drop`. All of them may be asynchronous.
export const NAMES = ["running_mean", "running_var", "num_batches_tracked", "weight", "bias"];

const PART = 8192;
// Node.js has no numbers of float16, newer browsers have.
export const HALF = globalThis.Float16Array ?? Uint16Array;
const ARRAYS = { float64: Float64Array, float32: Float32Array, float16: HALF, int64: BigInt64Array };

export class Unsupported extends Error {} // the implementation does not have what was asked for
export class Failed extends Error {} // it should have answered

// An array as {dtype, shape, data}, data being a typed array; of float16 the bits, in Node.js.
export function decode({ dtype, shape, data }) {
  if (!(dtype in ARRAYS)) throw new Unsupported(`JavaScript has no array of ${dtype}`);
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  return { dtype, shape, data: new ARRAYS[dtype](bytes.buffer) };
}

function encode(array) {
  if (!array) return null;
  const { dtype, shape, data } = array;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const parts = []; // as a call takes no more arguments than some 100,000
  for (let place = 0; place < bytes.length; place += PART) parts.push(String.fromCharCode(...bytes.subarray(place, place + PART)));
  return { dtype, shape, data: btoa(parts.join("")) };
}

const encoded = (arrays) => Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, encode(array)]));
const gradients = ([grad_x, grad_weight, grad_bias]) => encoded({ grad_x, grad_weight, grad_bias });

function remembered(shown) {
  return encoded(Object.fromEntries(NAMES.map((name) => [name, shown[name] ?? null])));
}

function given(state) {
  const there = Object.entries(state).filter(([, value]) => value !== null);
  return Object.fromEntries(there.map(([name, value]) => [name, decode(value)]));
}

async function answer(backend, layers, request) {
  const { do: what, layer: handle, training } = request;
  const layer = layers.get(handle);
  const keep = (made) => (layers.set(request.id, made), { layer: request.id });
  switch (what) {
    case "hello":
      return { protocol: "bnconform/1", ...backend.hello };
    case "build":
      return keep(await backend.build(request.config, request.device));
    case "build_default":
      return keep(await backend.buildDefault(request.num_features, request.device));
    case "forward":
      return encoded({ y: await layer.forward(decode(request.x), training) });
    case "backward":
      if (!layer.backward) throw new Unsupported(backend.hello.unsupported.backward);
      return gradients(await layer.backward(decode(request.x), decode(request.grad_output), training));
    case "state":
      return remembered(await layer.state());
    case "load":
      await layer.load(given(request.state));
      return {};
    case "drop":
      layers.delete(handle);
      await layer.drop?.();
      return {};
    default:
      throw new Unsupported(`no such request: ${what}`);
  }
}

function refusal(error) {
  const kind = error instanceof Unsupported ? "unsupported" : error instanceof Failed ? "failed" : "invalid";
  return { error: { kind, message: String(error?.message ?? error) || "an error without words" } };
}

// A function from a request, as text, to its answer, as text; it keeps the layers.
export function answering(backend) {
  const layers = new Map();
  return async (line) => {
    const request = JSON.parse(line);
    const found = await answer(backend, layers, request).catch(refusal);
    return JSON.stringify({ id: request.id, ...found });
  };
}
