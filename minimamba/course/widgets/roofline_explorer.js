// Take away trips to memory and see what a scan waits for.

/** For each step and channel what moves and what is computed, and the time that all of it takes. */
export function floors({ bandwidth, exponentials, steps }, width, d_state, passes) {
  const bytes = width * (4 + passes * d_state);
  const ratio = d_state / bytes;
  return { bytes, ratio, rate: Math.min(ratio * bandwidth, exponentials),
           memory: (1e3 * steps * bytes) / bandwidth,
           arithmetic: (1e3 * steps * d_state) / exponentials };
}

export function caption({ bytes, memory, arithmetic }, d_state) {
  return `For each step and channel ${bytes} bytes move and ${d_state} exponentials are computed: `
    + `at best ${general(memory, 3)} ms of memory and ${general(arithmetic, 3)} ms of `
    + `exponentials. It waits for ${memory > arithmetic ? "memory" : "exponentials"}.`;
}

function draw(canvas, machine, width, d_state, passes) {
  const now = floors(machine, width, d_state, passes);
  const fused = floors(machine, width, d_state, 0);
  const roof = axes(canvas, { left: 66, top: 30, width: 420, height: 230, xlog: true, ylog: true,
    xlim: [0.004, 40], ylim: [1e10, 1e13], title: "what the machine allows",
    xlabel: "exponentials a byte moved", ylabel: "exponentials a second" });
  const knee = machine.exponentials / machine.bandwidth;
  const ends = [0.001, knee, 100];
  roof.line(ends, ends.map((x) => Math.min(x * machine.bandwidth, machine.exponentials)), "grey");
  roof.add(svg("circle", { class: "line blue", cx: roof.X(fused.ratio), cy: roof.Y(fused.rate),
                           r: 8 }),
    svg("circle", { class: "area red point", cx: roof.X(now.ratio), cy: roof.Y(now.rate), r: 5 }));
  canvas.append(svg("circle", { class: "area red", cx: 290, cy: 226, r: 5 }),
    words(302, 230, "this one", { anchor: "start" }),
    svg("circle", { class: "line blue", cx: 290, cy: 246, r: 7 }),
    words(302, 250, "fused: no pass", { anchor: "start" }));

  const time = axes(canvas, { left: 610, top: 30, width: 270, height: 110, xlog: true, yticks: [],
    xlim: [0.003, 100], ylim: [1.5, -0.5], title: "time at best", xlabel: "ms" });
  [["memory", now.memory, "red"], ["exponentials", now.arithmetic, "green"]].forEach(
    ([name, ms, colour], i) => {
      canvas.append(words(602, time.Y(i) + 4, name, { class: "tick", anchor: "end" }));
      time.add(svg("rect", { class: `area ${colour} bar`, x: time.left, y: time.Y(i) - 16,
        height: 32, width: Math.max(0, time.X(ms) - time.left) }),
        words(Math.min(time.X(ms) + 6, 836), time.Y(i) + 4, general(ms, 3), { anchor: "start" }));
    });
  return caption(now, d_state);
}

export default {
  render({ model, el }) {
    const machine = model.get("machine");
    const widths = model.get("widths");
    explorer({ model, el }, "roofline", {
      traits: ["passes", "d_state", "dtype"], width: 900, height: 310,
      controls: [
        slider(model, "passes", { label: "passes over the states", min: 0, max: 16, step: 1 }),
        slider(model, "d_state", { label: "numbers of a state", min: 1, max: 128, step: 1 }),
        choices(model, "dtype", { label: "kept in memory as", options: Object.keys(widths) }),
      ],
      draw: (canvas) => draw(canvas, machine, widths[model.get("dtype")], model.get("d_state"),
        model.get("passes")),
    });
  },
};
