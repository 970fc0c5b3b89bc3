// Gains and losses: one bar per question, best first; a click on a bar chooses its question.
const gainOf = (row) => (row.metrics.length ? row.metrics[0].value - row.metrics[0].first_stage : -Infinity);
const state = { reranker: rerankers.reduce((best, row, at) => (gainOf(row) > gainOf(rerankers[best]) ? at : best), 0), metric: 0, question: 0, document: null };
let sorted = [];

function difference(query) {
  const [first, ...values] = query.values;
  const own = values[state.reranker];
  return own ? own[state.metric] - first[state.metric] : null;
}

function sortQuestions() {
  sorted = data.queries.map((query, at) => ({ query, at, difference: difference(query) })).filter((one) => one.difference !== null);
  sorted.sort((a, b) => b.difference - a.difference || a.at - b.at);
}

const labelOf = (one) => `${signed(one.difference)}  ${one.query.text}`;

function drawGains() {
  const place = byId("gains");
  place.replaceChildren();
  byId("pointed").textContent = "";
  const row = rerankers[state.reranker], compared = row.metrics[state.metric], metric = data.metrics[state.metric];
  if (!compared) {
    byId("gains-note").textContent = `${row.name} did not answer.`;
    return;
  }
  byId("gains-note").textContent = `${row.name} against the first stage, ${metric}: one bar per question. Click one or use the arrow keys to choose it.`;
  const wide = Math.max(280, place.clientWidth), height = 220;
  const width = Math.max(wide, sorted.length * 3 + 60);
  const box = { left: 46, right: width - 8, top: 12, bottom: height - 22 };
  const svg = canvas(place, width, height, "");
  const values = sorted.map((one) => one.difference), widest = Math.max(0.1, ...values.map(Math.abs));
  const high = Math.max(widest * 0.2, ...values), low = Math.min(-widest * 0.2, ...values); // room for the words
  const y = (value) => box.bottom - ((value - low) / (high - low)) * (box.bottom - box.top);
  const step = Math.min(28, (box.right - box.left) / sorted.length);
  const scale = ticks(low, high, 5);
  for (const at of scale.found) {
    rule(svg, box, y(at), at === 0 ? "axis" : "grid", at === 0 ? "0" : (at > 0 ? "+" : "") + fixed(at, scale.digits));
  }
  const label = (words, from, to, up, kind) => {
    if (to > from) shape(svg, "text", { class: `halo t-${kind}`, x: box.left + ((from + to) / 2) * step, y: y(0) + (up ? -8 : 18), "text-anchor": "middle" }, words);
  };
  const marker = shape(svg, "path", { class: "chosen" });
  const bars = sorted.map((one, place) => {
    const left = box.left + place * step, kind = change(one.difference), height = Math.max(1.5, Math.abs(y(one.difference) - y(0)));
    const bar = { x: left + step * 0.12, width: Math.max(1, step * 0.76), y: one.difference > 0 ? y(0) - height : y(0), height };
    shape(svg, "rect", { class: `bar s-${kind}`, ...bar });
    return left + step / 2;
  });
  const [wins, worse] = [compared.wins, sorted.length - compared.losses];
  label(`${compared.wins} better`, 0, wins, false, "gain");
  label(`${compared.ties} the same`, wins, worse, true, "flat");
  label(`${compared.losses} worse`, worse, sorted.length, true, "loss");
  const hit = shape(svg, "rect", { class: "hit", x: box.left, y: 0, width: step * sorted.length, height });
  const under = (event) => {
    const at = Math.floor((pointed(event, svg, width) - box.left) / step);
    return Math.min(sorted.length - 1, Math.max(0, at));
  };
  hit.addEventListener("pointermove", (event) => { byId("pointed").textContent = labelOf(sorted[under(event)]); });
  hit.addEventListener("pointerleave", () => { byId("pointed").textContent = ""; });
  hit.addEventListener("click", (event) => choose({ question: sorted[under(event)].at, document: null }));

  makeSlider(svg, "Question, from the greatest gain to the greatest loss", sorted.length, -1, chosenPlace, (place) => choose({ question: sorted[place].at, document: null }));
  drawGains.mark = () => {
    const now = chosenPlace();
    if (now < 0) return;
    set(marker, { d: `M${bars[now]} ${box.bottom + 4}l6 11h-12z` });
    place.scrollLeft = Math.min(Math.max(place.scrollLeft, bars[now] + 20 - place.clientWidth), bars[now] - 20);
    set(svg, { "aria-valuenow": String(now + 1), "aria-valuetext": labelOf(sorted[now]) });
  };
  drawGains.mark();
}

const chosenPlace = () => sorted.findIndex((one) => one.at === state.question);

function fillQuestions() {
  byId("question").replaceChildren(...sorted.map((one) => element("option", { value: one.at }, shortened(labelOf(one), 140))));
}
