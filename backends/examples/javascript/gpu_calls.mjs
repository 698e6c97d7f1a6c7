// How often a browser's interfaces to a GPU were asked to compute: draws of WebGL, dispatches of WebGPU.
const counts = { webgl: 0, webgpu: 0 };

function counted(kind, device, names) {
  for (const name of names) {
    const own = kind?.prototype[name];
    if (!own) continue;
    kind.prototype[name] = function (...given) {
      counts[device] += 1;
      return own.apply(this, given);
    };
  }
}

counted(globalThis.WebGL2RenderingContext, "webgl", ["drawArrays", "drawElements"]);
counted(globalThis.WebGLRenderingContext, "webgl", ["drawArrays", "drawElements"]);
counted(globalThis.GPUComputePassEncoder, "webgpu", ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]);

// The count of a device, null of one that is no GPU.
export const calls = (device) => counts[device] ?? null;
