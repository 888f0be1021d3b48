// Small curves of what the status events say, over the last five minutes.

const SECONDS = 300;
const CURVES = [
  { name: "Frames per second", unit: "fps", value: (status) => status.fps },
  { name: "Latency (99 of 100)", unit: "ms", value: (status) => status.latency_p99_ms },
  { name: "Dropped", unit: "per s", value: (status, before) => Math.max(0, status.dropped - (before?.dropped ?? status.dropped)) },
  { name: "CPU of this run", unit: "% of a core", value: (status) => status.cpu_percent },
];
const SVG = "http://www.w3.org/2000/svg";

export class Curves {
  #points = [];
  #last = null;

  constructor(parent) {
    this.parts = CURVES.map((curve) => {
      const figure = document.createElement("figure");
      const svg = document.createElementNS(SVG, "svg");
      const line = document.createElementNS(SVG, "polyline");
      const caption = document.createElement("figcaption");
      svg.setAttribute("viewBox", `0 0 ${SECONDS} 100`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("aria-hidden", "true"); // the caption says it in words
      svg.append(line);
      figure.append(svg, caption);
      parent.append(figure);
      return { ...curve, line, caption };
    });
  }

  /** Take one status event in; draw unless more are coming at once. */
  add(status, draw = true) {
    this.#points.push({ time: status.time, values: CURVES.map((curve) => curve.value(status, this.#last) ?? 0) });
    this.#last = status;
    while (this.#points[0].time < status.time - SECONDS) this.#points.shift();
    if (draw) this.draw();
  }

  draw() {
    const end = this.#points.at(-1);
    if (!end) return;
    this.parts.forEach((part, index) => {
      const most = Math.max(1e-6, ...this.#points.map(({ values }) => values[index]));
      const points = this.#points.map(({ time, values }) => `${SECONDS - end.time + time},${98 - (95 * values[index]) / most}`);
      part.line.setAttribute("points", points.join(" "));
      const shown = (value) => (value < 10 ? value.toFixed(1) : value.toFixed(0)).replace(/\.0$/, "");
      part.caption.textContent = `${part.name}: ${shown(end.values[index])} ${part.unit}, at most ${shown(most < 1e-3 ? 0 : most)}`;
    });
  }
}
