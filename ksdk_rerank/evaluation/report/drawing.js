// Shared by the charts: elements, numbers, scales. Text from outside goes through textContent only.
const data = JSON.parse(document.getElementById("data").textContent);
const [firstStage, ...rerankers] = data.rows;
const byId = (id) => document.getElementById(id);

function set(made, attributes) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function element(name, attributes = {}, ...children) {
  const made = set(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

function fillOptions(id, names) {
  byId(id).replaceChildren(...names.map((name, at) => element("option", { value: at }, name)));
}

function fillTable(id, caption, heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  byId(id).replaceChildren(element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...rows));
}

function shape(parent, name, attributes = {}, text = null) {
  const made = set(document.createElementNS("http://www.w3.org/2000/svg", name), attributes);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

function canvas(parent, width, height, label) {
  return shape(parent, "svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
}

// A horizontal line through the box of a chart, with a label on its left.
function rule(svg, box, y, kind, label = null) {
  shape(svg, "line", { class: kind, x1: box.left, x2: box.right, y1: y, y2: y });
  if (label !== null) shape(svg, "text", { x: box.left - 8, y: y + 4, "text-anchor": "end" }, label);
}

// Lets the keyboard choose one of `count` places in a chart. `up` is the step of the up arrow.
function makeSlider(svg, label, count, up, now, chosen) {
  set(svg, { role: "slider", tabindex: "0", "aria-label": label, "aria-valuemin": "1", "aria-valuemax": String(count) });
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: up, ArrowDown: -up, PageUp: 10 * up, PageDown: -10 * up, Home: -Infinity, End: Infinity };
  svg.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    chosen(Math.min(count - 1, Math.max(0, now() + step)));
  });
}

// Where the pointer is, in the units of a chart of this width.
function pointed(event, svg, width) {
  const area = svg.getBoundingClientRect();
  return ((event.clientX - area.left) / area.width) * width;
}

const MINUS = "\u2212";
const fixed = (value, digits = 3) => (value < 0 ? MINUS : "") + Math.abs(value).toFixed(digits);
const signed = (value) => (Math.abs(value) < 0.0005 ? "\u00b10.000" : (value > 0 ? "+" : "") + fixed(value));
const scored = (value) => (value === null || value === undefined ? "none" : fixed(value));
const shortened = (text, longest) => (text.length <= longest ? text : text.slice(0, Math.max(1, longest - 1)).trimEnd() + "\u2026");
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

function duration(seconds) {
  if (seconds >= 0.9995) return `${seconds >= 9.995 ? seconds.toFixed(0) : Number(seconds.toPrecision(2))} s`;
  const ms = seconds * 1000;
  return `${ms >= 9.95 ? ms.toFixed(0) : ms >= 0.095 ? ms.toFixed(1) : ms.toPrecision(1)} ms`;
}

// "gain" or "loss" if the whole interval lies on one side of zero, "flat" if chance may explain the difference.
function direction(compared) {
  if (!compared || !compared.interval) return "flat";
  return compared.interval[0] > 0 ? "gain" : compared.interval[1] < 0 ? "loss" : "flat";
}

function change(difference) {
  return difference > 1e-9 ? "gain" : difference < -1e-9 ? "loss" : "flat";
}

// Steps of 1, 2 or 5 times a power of ten, about `count` of them between `low` and `high`.
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(Math.abs(at) < step / 1e6 ? 0 : at);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// The part after the last slash, if it still tells all names apart.
const shortNames = (() => {
  const last = data.rows.map((row) => row.name.slice(row.name.lastIndexOf("/") + 1) || row.name);
  return new Map(data.rows.map((row, at) => [row.name, last.indexOf(last[at]) === last.lastIndexOf(last[at]) ? last[at] : row.name]));
})();
