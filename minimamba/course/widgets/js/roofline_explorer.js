// Remove passes over GPU memory and see what bounds the time of a scan.

import { axes, label } from "./axes.js";
import { choices, slider } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { formatGeneral } from "./numbers.js";

/**
 * What each step and channel moves and computes, and lower bounds on the time of the whole scan, in
 * ms: `memory` for the bytes, `arithmetic` for the exponentials.
 */
export function estimate({ bandwidth, exponentials, steps }, bytesPerNumber, d_state, passes) {
  const bytes = bytesPerNumber * (4 + passes * d_state);
  const intensity = d_state / bytes;
  return { bytes, intensity, rate: Math.min(intensity * bandwidth, exponentials),
           memory: (1e3 * steps * bytes) / bandwidth,
           arithmetic: (1e3 * steps * d_state) / exponentials };
}

export function caption({ bytes, memory, arithmetic }, d_state) {
  return `Each step and channel moves ${bytes} bytes and computes ${d_state} `
    + `exponential${d_state > 1 ? "s" : ""}. Lower bounds on the time: ${formatGeneral(memory, 3)} `
    + `ms for memory traffic, ${formatGeneral(arithmetic, 3)} ms for exponentials. The scan is `
    + `${memory > arithmetic ? "memory" : "compute"}-bound.`;
}

function draw(canvas, gpu, bytesPerNumber, d_state, passes) {
  const found = estimate(gpu, bytesPerNumber, d_state, passes);
  drawRoofline(canvas, gpu, found, estimate(gpu, bytesPerNumber, d_state, 0));
  drawTimes(canvas, found);
  return caption(found, d_state);
}

function drawRoofline(canvas, gpu, found, fused) {
  const roof = axes(canvas, { left: 66, top: 30, width: 420, height: 230, xlog: true, ylog: true,
    xlim: [0.004, 40], ylim: [1e10, 1e13], title: "roofline of an H200",
    xlabel: "exponentials per byte moved", ylabel: "exponentials per second" });
  const ridge = gpu.exponentials / gpu.bandwidth;
  const ends = [0.001, ridge, 100];
  roof.line(ends, ends.map((x) => Math.min(x * gpu.bandwidth, gpu.exponentials)), "grey");
  roof.add(svg("circle", { class: "line blue", cx: roof.X(fused.intensity), cy: roof.Y(fused.rate),
                           r: 8 }),
    svg("circle", { class: "area red point", cx: roof.X(found.intensity), cy: roof.Y(found.rate),
                    r: 5 }));
  canvas.append(svg("circle", { class: "area red", cx: 290, cy: 226, r: 5 }),
    label(302, 230, "these settings", { anchor: "start" }),
    svg("circle", { class: "line blue", cx: 290, cy: 246, r: 7 }),
    label(302, 250, "fused: no passes", { anchor: "start" }));
}

function drawTimes(canvas, { memory, arithmetic }) {
  const time = axes(canvas, { left: 610, top: 30, width: 270, height: 110, xlog: true, yticks: [],
    xlim: [0.003, 100], ylim: [1.5, -0.5], title: "lower bound on the time", xlabel: "time, ms" });
  [["memory", memory, "red"], ["exponentials", arithmetic, "green"]].forEach(
    ([name, ms, colour], i) => {
      canvas.append(label(602, time.Y(i) + 4, name, { class: "tick", anchor: "end" }));
      time.add(svg("rect", { class: `area ${colour} bar`, x: time.left, y: time.Y(i) - 16,
        height: 32, width: Math.max(0, time.X(ms) - time.left) }),
        label(Math.min(time.X(ms) + 6, 836), time.Y(i) + 4, formatGeneral(ms, 3),
          { anchor: "start" }));
    });
}

export default {
  render({ model, el }) {
    const gpu = model.get("gpu");
    const bytesPerNumber = model.get("bytes_per_number");
    explorer({ model, el }, "roofline", {
      traits: ["passes", "d_state", "dtype"], width: 900, height: 310,
      controls: [
        slider(model, "passes", { label: "passes over the states", min: 0, max: 16, step: 1 }),
        slider(model, "d_state", { label: "state dimension N", min: 1, max: 128, step: 1 }),
        choices(model, "dtype", { label: "dtype in GPU memory",
                                  options: Object.keys(bytesPerNumber) }),
      ],
      draw: (canvas) => draw(canvas, gpu, bytesPerNumber[model.get("dtype")], model.get("d_state"),
        model.get("passes")),
    });
  },
};
