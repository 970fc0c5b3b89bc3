// How short the prompt can be: answers kept against tokens, with a point that pointer and arrow keys move.
const cuttable = rerankers.filter((row) => row.prompts);
const cut = { row: cuttable.reduce((best, row) => (!best || row.prompts.smallest.tokens < best.prompts.smallest.tokens ? row : best), null), by: "byScore", at: 0 };
const percent = (share) => `${Math.floor(share * 1000 + 1e-3) / 10}\u00a0%`;
const whole = (number) => Math.round(number).toLocaleString("en");
const cutPoints = () => [...cut.row.prompts[cut.by]].sort((a, b) => a.tokens - b.tokens || a.kept - b.kept);

// The share of relevant documents at a score, by the fit; limits as in ksdk_rerank/compose/_platt.py.
function shareAt(score, { slope, intercept }) {
  const inside = Math.min(1 - 1e-6, Math.max(1e-6, score));
  return 1 / (1 + Math.exp(-(slope * Math.log(inside / (1 - inside)) + intercept)));
}

function describeCut(point) {
  const { uncut } = cut.row.prompts, saved = (uncut.tokens - point.tokens) * 1000;
  const name = cut.by === "byScore" ? `min_score ${point.minScore}` : `top_n ${point.topN}`;
  const interval = point.interval ? ` (${data.confidence} interval ${percent(point.interval[0])} to ${percent(point.interval[1])})` : "";
  const cost = data.price === null ? "" : `, which cost ${((saved / 1e6) * data.price).toFixed(2)}`;
  const share = cut.by === "byScore" && cut.row.calibration ? ` Of documents with this score, about ${percent(shareAt(point.minScore, cut.row.calibration))} are relevant.` : "";
  return `${name} keeps ${percent(point.kept)} of the answers${interval} in ${whole(point.tokens)} tokens and ${fixed(point.documents, 1)} documents per question. It saves ${whole(saved)} tokens per 1,000 questions${cost}.${share}`;
}

function chooseCut(changes) {
  const anew = changes.row !== undefined || changes.by !== undefined;
  Object.assign(cut, changes);
  if (anew && !cut.row.prompts.byScore.length) cut.by = "byCount";
  byId("cut-by").options[0].disabled = !cut.row.prompts.byScore.length;
  byId("cut-by").value = cut.by;
  if (!anew) {
    drawPrompts.mark();
    return;
  }
  const good = cutPoints().findIndex((point) => point.kept >= data.keep - 1e-6);
  cut.at = good < 0 ? cutPoints().length - 1 : good;
  drawPrompts();
  drawReliability();
}

function drawPrompts() {
  const place = byId("prompts"), { prompts } = cut.row, points = cutPoints();
  place.replaceChildren();
  const width = Math.max(280, place.clientWidth), height = Math.round(Math.min(380, Math.max(300, width * 0.42)));
  const box = { left: 50, right: width - 12, top: 16, bottom: height - 44 };
  const svg = canvas(place, width, height, "");
  const most = Math.max(prompts.uncut.tokens, 1);
  const x = (tokens) => box.left + (tokens / most) * (box.right - box.left);
  const y = (kept) => box.bottom - kept * (box.bottom - box.top);
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    rule(svg, box, y(share), share ? "grid" : "axis", `${share * 100}\u00a0%`);
  }
  for (const tokens of ticks(0, most, width > 600 ? 8 : 4).found) {
    shape(svg, "line", { class: "axis", x1: x(tokens), x2: x(tokens), y1: box.bottom, y2: box.bottom + 5 });
    const last = x(tokens) > box.right - 16;
    shape(svg, "text", { x: last ? width : x(tokens), y: box.bottom + 20, "text-anchor": last ? "end" : "middle" }, whole(tokens));
  }
  shape(svg, "text", { x: box.right, y: height - 4, "text-anchor": "end" }, "tokens per question");
  rule(svg, box, y(data.keep), "wanted");

  const line = (list) => [...list].sort((a, b) => a.tokens - b.tokens).map((point, at) => `${at ? "L" : "M"}${x(point.tokens).toFixed(1)} ${y(point.kept).toFixed(1)}`).join("");
  const known = points.filter((point) => point.interval);
  if (known.length) {
    const edge = [...known.map((point) => [point, 1]), ...known.map((point) => [point, 0]).reverse()];
    shape(svg, "path", { class: "band", d: edge.map(([point, end], at) => `${at ? "L" : "M"}${x(point.tokens).toFixed(1)} ${y(point.interval[end]).toFixed(1)}`).join("") + "z" });
  }
  const other = cut.by === "byScore" ? "byCount" : "byScore", names = { byScore: "min_score", byCount: "top_n" };
  const lines = [{ kind: "plain", name: "first stage, top_n", list: firstStage.prompts.byCount.filter((point) => point.tokens <= most) }];
  if (prompts[other].length) lines.push({ kind: "other", name: names[other], list: prompts[other] });
  lines.push({ kind: "main", name: names[cut.by], list: points });
  for (const { kind, list } of lines) shape(svg, "path", { class: `curve ${kind}`, d: line(list) });
  const legend = [...lines.reverse(), { kind: "best", name: "smallest prompt" }];
  const written = legend.map(({ name }, row) => shape(svg, "text", { class: "halo", y: box.bottom - 14 - (legend.length - 1 - row) * 19 }, name));
  const start = box.right - 8 - Math.max(...written.map((text) => text.getComputedTextLength()));
  const diamond = (left, top) => `M${left} ${top - 6}l6 6l-6 6l-6-6z`;
  written.forEach((text, row) => {
    const { kind } = legend[row], top = Number(text.getAttribute("y")) - 4;
    text.setAttribute("x", start);
    if (kind === "best") shape(svg, "path", { class: "best", d: diamond(start - 21, top) });
    else shape(svg, "path", { class: `curve ${kind}`, d: `M${start - 34} ${top}h26` });
  });
  shape(svg, "path", { class: "best", d: diamond(x(prompts.smallest.tokens), y(prompts.smallest.kept)) });
  const guide = shape(svg, "path", { class: "guide" });
  const handle = shape(svg, "circle", { class: "handle", r: 7 });

  const hit = shape(svg, "rect", { class: "hit drag", x: box.left, y: 0, width: box.right - box.left, height });
  const nearest = (event) => {
    const at = pointed(event, svg, width);
    return points.map((point) => Math.abs(x(point.tokens) - at)).reduce((best, gap, place, gaps) => (gap < gaps[best] ? place : best), 0);
  };
  hit.addEventListener("pointerdown", (event) => {
    hit.setPointerCapture(event.pointerId);
    svg.focus({ preventScroll: true });
    chooseCut({ at: nearest(event) });
  });
  hit.addEventListener("pointermove", (event) => { if (event.buttons) chooseCut({ at: nearest(event) }); });
  makeSlider(svg, `${names[cut.by]} of ${cut.row.name}, by tokens per question`, points.length, 1, () => cut.at, (at) => chooseCut({ at }));
  drawPrompts.mark = () => {
    const point = points[cut.at], [left, top] = [x(point.tokens), y(point.kept)];
    set(handle, { cx: left, cy: top });
    set(guide, { d: `M${box.left} ${top}H${left}V${box.bottom}` });
    byId("cut").textContent = describeCut(point);
    byId("cut-arguments").textContent = point.arguments;
    set(svg, { "aria-valuenow": String(cut.at + 1), "aria-valuetext": describeCut(point) });
  };
  drawPrompts.mark();
  const note = `${cut.row.name}: the share of the whole list's answers that a shorter list keeps, and the tokens it sends. The band is the ${data.confidence} interval; the dashed line is ${percent(data.keep)}.`;
  byId("prompts-note").replaceChildren(note, element("span", { class: "hint" }, " Drag the point or use the arrow keys."));
}

// Every reranker's smallest prompt, which needs no pointing and is on paper, too.
function drawSmallest() {
  const rows = data.rows.filter((row) => row.prompts).map((row) => {
    const { smallest, uncut } = row.prompts, { interval } = smallest;
    const numbers = [percent(smallest.kept), interval ? `${percent(interval[0])} to ${percent(interval[1])}` : "\u2013", whole(smallest.tokens), whole(uncut.tokens), whole((uncut.tokens - smallest.tokens) * 1000)];
    if (data.price !== null) numbers.push((((uncut.tokens - smallest.tokens) / 1000) * data.price).toFixed(2));
    const paste = element("td", {}, element("code", {}, smallest.arguments));
    return element("tr", {}, element("th", { scope: "row" }, row.name), paste, ...numbers.map((number) => element("td", {}, number)));
  });
  const heads = ["Reranker", "Arguments", "Answers kept", `${data.confidence} interval`, "Tokens", "Whole list", "Saved per 1,000 questions"];
  if (data.price !== null) heads.push("Cost saved");
  fillTable("smallest", `${data.prompts}. Tokens are per question. Each was chosen on these questions, so expect it to keep a little less on others.`, heads, rows);
}

function startPrompts() {
  if (!cut.row) return;
  for (const id of ["prompts-section", "reliability-section"]) byId(id).hidden = false;
  fillOptions("cut-reranker", cuttable.map((row) => row.name));
  byId("cut-reranker").value = String(cuttable.indexOf(cut.row));
  byId("cut-reranker").addEventListener("change", (event) => chooseCut({ row: cuttable[Number(event.target.value)] }));
  byId("cut-by").addEventListener("change", (event) => chooseCut({ by: event.target.value }));
  drawSmallest();
  chooseCut({ row: cut.row });
}
