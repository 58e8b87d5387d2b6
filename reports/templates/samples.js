"use strict";
// Draws every sample of a repetition below its picture: a click or Enter on the picture, or the button, opens it.
(() => {
  const HEIGHT = 150, COLOURS = 4, DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const digits = (value) => value === 0 ? "0" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);

  const read = async (text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const whole = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const raw = new Uint8Array(await new Response(whole).arrayBuffer());
    const length = new DataView(raw.buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(raw.subarray(4, 4 + length)));
    let offset = 4 + length;
    const next = (count, step) => {
      const straight = new Uint8Array(4 * count);
      for (let byte = 0; byte < 4; byte++, offset += count)
        for (let at = 0; at < count; at++) straight[4 * at + byte] = raw[offset + at];
      if (!step) return Float64Array.from(new Float32Array(straight.buffer));
      const steps = new Int32Array(straight.buffer), values = new Float64Array(count);
      for (let at = 0, sum = 0; at < count; at++) values[at] = (sum += steps[at]) * step;
      return values;
    };
    header.axes = header.axes.map((count) => next(count, header.tick));
    const order = header.panels.flatMap((panel) => panel.series).sort((a, b) => a.index - b.index);
    for (const one of order) one.values = next(header.axes[one.axis].length, one.step);
    return header;
  };

  const aligned = (series, axes) => {
    const same = series.every((one) => one.axis === series[0].axis);
    return same
      ? [axes[series[0].axis], ...series.map((one) => one.values)]
      : uPlot.join(series.map((one) => [axes[one.axis], one.values]));
  };

  // Amounts are drawn from zero, as in the picture above.
  const range = (unit) => (plot, low, high) => {
    if (low === null) return [0, 1];
    if (low < 0 || unit === "°C" || unit === "V") {
      const air = Math.max(high - low, unit === "°C" ? 4 : 0.1) * 0.08;
      return [low - air, high + air];
    }
    return [0, (high || 1) * 1.06];
  };

  const shade = (data, ink, warn) => (plot) => {
    const { left, top, width, height } = plot.bbox, pen = plot.ctx;
    const x = (seconds) => Math.min(Math.max(plot.valToPos(seconds, "x", true), left), left + width);
    pen.save();
    pen.fillStyle = ink;
    data.phases.forEach(([, start, end], number) => {
      pen.globalAlpha = number % 2 ? 0.05 : 0.11;
      pen.fillRect(x(start), top, x(end) - x(start), height);
    });
    pen.globalAlpha = 1;
    pen.fillStyle = warn;
    for (const [, at] of data.events) pen.fillRect(x(at), top, 2 * devicePixelRatio, height);
    pen.restore();
  };

  const build = (panel, data, view, last) => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const grid = { stroke: colour("line"), width: 1 };
    const axis = { stroke: colour("text"), font: "11px system-ui, sans-serif", grid, ticks: grid };
    const inks = panel.series.map((_, number) => colour("s" + (number % COLOURS + 1)));
    const dash = (number) => DASHES[Math.floor(number / COLOURS) % DASHES.length];
    const title = panel.title + (panel.unit ? " (" + panel.unit + ")" : "");
    const readings = panel.series.map(() => make("output", { className: "reading" }));
    const boxes = panel.series.map((one) => make("input", { type: "checkbox", checked: one.on }));
    const points = panel.kind === "points";
    const options = {
      width: view.width(), height: HEIGHT + (last ? 24 : 0), legend: { show: false },
      cursor: { sync: { key: view.key, setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
      scales: { x: { time: false }, y: { range: range(panel.unit) } },
      axes: [
        { ...axis, size: last ? 46 : 28, label: last ? "time (s)" : undefined, labelSize: 16, labelFont: axis.font },
        { ...axis, size: 62, values: (_, ticks) => ticks.map((value) => String(value)) },
      ],
      series: [{}, ...panel.series.map((one, number) => ({
        label: one.name, show: one.on, stroke: inks[number], fill: points ? inks[number] : undefined, width: 1.3,
        dash: dash(number), spanGaps: true, points: { show: points, size: 3 },
        paths: points ? () => null : panel.kind === "steps" ? uPlot.paths.stepped({ align: 1 }) : undefined,
      }))],
      hooks: {
        drawClear: [shade(data, colour("text"), colour("fail"))],
        setSelect: [(plot) => {
          const { left, width } = plot.select;
          if (width > 2) view.zoom(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        }],
        setCursor: [(plot) => panel.series.forEach((one, number) => {
          const value = plot.cursor.idx == null ? null : plot.data[number + 1][plot.cursor.idx];
          readings[number].textContent = value == null ? "" : digits(value) + (panel.unit ? " " + panel.unit : "");
        })],
      },
    };
    const names = panel.series.map((one, number) => {
      const pen = make("i", { className: "pen s" + (number % COLOURS + 1), ariaHidden: "true" });
      return make("li", {}, make("label", {}, boxes[number], pen, make("bdi", { textContent: one.name })), " ", readings[number]);
    });
    const place = make("div", { className: "plot" });
    const plot = new uPlot(options, aligned(panel.series, data.axes), place);
    place.addEventListener("dblclick", () => view.zoom(view.low, view.high));
    boxes.forEach((box, number) => box.addEventListener("change", () => plot.setSeries(number + 1, { show: box.checked })));
    const canvas = place.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", title + ", " + panel.series.map((one) => one.name).join(", "));
    return { plot, element: make("section", { ariaLabel: title }, make("h5", { textContent: title }), place,
      make("ul", { className: "names" }, ...names)) };
  };

  const draw = (data, box, figure) => {
    const low = Math.min(...data.axes.map((axis) => axis[0]));
    const high = Math.max(...data.axes.map((axis) => axis[axis.length - 1]));
    const view = {
      low, high, at: [low, high], key: figure.dataset.samples, plots: [],
      width: () => Math.max(box.clientWidth - 2, 240),
      zoom: (from, to) => {
        const width = Math.min(Math.max(to - from, (high - low) / 2000), high - low);
        from = Math.min(Math.max(from, low), high - width);
        view.at = [from, from + width];
        for (const plot of view.plots) plot.setScale("x", { min: from, max: from + width });
      },
    };
    const fill = () => {
      const panels = data.panels.map((panel, number) => build(panel, data, view, number === data.panels.length - 1));
      view.plots.forEach((plot) => plot.destroy());
      view.plots = panels.map((panel) => panel.plot);
      box.querySelector(".panels").replaceChildren(...panels.map((panel) => panel.element));
      view.zoom(...view.at);
    };
    box.addEventListener("keydown", (event) => {
      const [from, to] = view.at, width = to - from;
      const moved = { ArrowLeft: [from - width / 5, to - width / 5], ArrowRight: [from + width / 5, to + width / 5],
        "+": [from + width / 4, to - width / 4], "-": [from - width / 2, to + width / 2], 0: [low, high] }[event.key];
      if (!moved || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      view.zoom(...moved);
    });
    fill();
    new ResizeObserver(() => {
      for (const plot of view.plots) if (plot.width !== view.width()) plot.setSize({ width: view.width(), height: plot.height });
    }).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", fill);
  };

  const told = (data) => {
    const few = data.shown < data.of;
    const counts = few
      ? data.shown + " of " + data.of + " samples: the lowest and the highest of each slice of time, to keep this file small."
      : "All " + data.of + " samples.";
    return counts + " Drag over a part to enlarge it, double-click for all. Keys: + and − enlarge and reduce, ← and → move, 0 shows all.";
  };

  const opened = new WeakSet();
  const open = async (figure, button) => {
    const old = figure.querySelector(".samples");
    if (old) {
      old.hidden = !old.hidden;
      button.ariaExpanded = String(!old.hidden);
      return;
    }
    if (opened.has(figure)) return;
    opened.add(figure);
    const begun = performance.now();
    const data = await read(document.getElementById(figure.dataset.samples).textContent);
    const { mark } = figure.dataset, marks = mark ? [make("span", { className: "mark", textContent: mark })] : [];
    const box = make("div", { className: "samples", tabIndex: 0, role: "group", ariaLabel: "Samples. " + figure.dataset.title },
      ...marks, make("p", { className: "quiet", textContent: told(data) }), make("div", { className: "panels" }));
    figure.append(box);
    draw(data, box, figure);
    button.ariaExpanded = "true";
    requestAnimationFrame(() => performance.measure("farm-samples", { start: begun }));
  };

  for (const figure of document.querySelectorAll("figure.drill")) {
    if (!document.getElementById(figure.dataset.samples)) continue;
    const button = make("button", { type: "button", textContent: "Every sample", ariaExpanded: "false" });
    button.setAttribute("aria-label", "Every sample. " + figure.dataset.title);
    button.addEventListener("click", () => open(figure, button));
    const region = figure.querySelector(".scroll");
    region.classList.add("opens");
    region.addEventListener("click", () => open(figure, button));
    region.addEventListener("keydown", (event) => { if (event.key === "Enter") open(figure, button); });
    figure.append(make("p", { className: "actions" }, button));
  }
})();
