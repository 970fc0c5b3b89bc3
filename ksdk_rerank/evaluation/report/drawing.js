// Shared by the charts: elements, numbers, scales. Text from outside goes through textContent only.
const data = JSON.parse(document.getElementById("data").textContent);
const [firstStage, ...rerankers] = data.rows;
const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(parent, name, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

function canvas(parent, width, height, label) {
  const svg = shape(parent, "svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  return svg;
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
