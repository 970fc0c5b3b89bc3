// The overview: a verdict in words, quality against time, the table, and a bar for each metric.
function drawVerdict() {
  const metric = data.metrics[0];
  const measured = rerankers.filter((row) => row.metrics.length);
  const verdict = byId("verdict");
  verdict.replaceChildren();
  byId("summary").textContent = data.summary + ".";
  if (!measured.length) {
    verdict.textContent = "No reranker answered. The table shows why.";
    return;
  }
  const gained = (row) => row.metrics[0].value - row.metrics[0].first_stage;
  const clear = measured.filter((row) => direction(row.metrics[0]) === "gain");
  const best = (clear.length ? clear : measured).reduce((a, b) => (gained(b) > gained(a) ? b : a));
  const compared = best.metrics[0];
  const name = element("strong", {}, best.name);
  const interval = compared.interval ? ` (${data.confidence} interval ${signed(compared.interval[0])} to ${signed(compared.interval[1])})` : "";
  const time = best.p50 === null ? "" : ` It takes ${duration(best.p50)} per question.`;
  const numbers = `${metric} ${fixed(compared.value)} instead of ${fixed(compared.first_stage)}, a difference of ${signed(gained(best))}${interval}.`;
  if (clear.length) {
    verdict.append("Yes: ", name, ` orders these candidates better than the first stage: ${numbers}${time}`);
  } else if (measured.every((row) => direction(row.metrics[0]) === "loss")) {
    verdict.append("No: every reranker does worse than the first stage. The best of them is ", name, `: ${numbers}`);
  } else if (!compared.interval) {
    verdict.append("One question is too few to tell. ", name, `: ${numbers}`);
  } else {
    verdict.append("Not clearly: on these questions, no reranker is shown to be better than the first stage. ", name, `${measured.length > 1 ? " comes out best" : ""}: ${numbers}`);
  }
}

function drawOverview() {
  const place = byId("overview");
  place.replaceChildren();
  const points = rerankers.filter((row) => row.metrics.length && row.p50 !== null);
  byId("overview-note").textContent = points.length
    ? `Each point is a reranker. Higher means a better ${data.metrics[0]}; further right means slower, with a line from the median time to the 95th percentile. The vertical bar is the ${data.confidence} interval of the difference. If it does not touch the first stage's line, chance is an unlikely explanation.`
    : "";
  if (!points.length) return;
  const width = Math.max(280, place.clientWidth), height = Math.round(Math.min(400, Math.max(340, width * 0.45)));
  const box = { left: 46, right: width - 14, top: 14, bottom: height - 44 };
  const svg = canvas(place, width, height, `${data.metrics[0]} and time of each reranker; the table below has the numbers`);
  const shift = (compared, at) => (compared.interval ? compared.first_stage + compared.interval[at] : compared.value);
  const line = firstStage.metrics[0].value;
  const quality = points.flatMap((row) => [row.metrics[0].value, shift(row.metrics[0], 0), shift(row.metrics[0], 1)]).concat(line);
  let low = Math.min(...quality), high = Math.max(...quality);
  const margin = Math.max((high - low) * 0.12, 0.02);
  [low, high] = [low - margin, high + margin];
  let fast = Math.log10(Math.min(...points.map((row) => row.p50))), slow = Math.log10(Math.max(...points.map((row) => row.p95)));
  const widen = Math.max(0.25, (1.6 - (slow - fast)) / 2);
  [fast, slow] = [fast - widen, slow + widen];
  const x = (seconds) => box.left + ((Math.log10(seconds) - fast) / (slow - fast)) * (box.right - box.left);
  const y = (value) => box.bottom - ((value - low) / (high - low)) * (box.bottom - box.top);

  const scale = ticks(low, high, 5);
  for (const at of scale.found) rule(svg, box, y(at), "grid", fixed(at, scale.digits));
  drawTimes(svg, box, x, fast, slow);
  rule(svg, box, box.bottom, "axis");
  shape(svg, "text", { x: box.right, y: height - 6, "text-anchor": "end" }, "time per question");
  rule(svg, box, y(line), "first");

  const taken = []; // what labels must avoid: points, bars and other labels
  const drawn = [...points].sort((a, b) => b.metrics[0].value - a.metrics[0].value).map((row) => {
    const compared = row.metrics[0], kind = `s-${direction(compared)}`;
    const group = shape(svg, "g", { class: "reranker" });
    const at = { x: x(row.p50), y: y(compared.value), end: x(row.p95), low: y(shift(compared, 0)), high: y(shift(compared, 1)) };
    shape(group, "line", { class: `spread ${kind}`, x1: at.x, x2: at.end, y1: at.y, y2: at.y });
    shape(group, "line", { class: `interval ${kind}`, x1: at.x, x2: at.x, y1: at.low, y2: at.high });
    shape(group, "circle", { class: `point ${kind}`, cx: at.x, cy: at.y, r: 6.5 });
    taken.push({ left: at.x - 9, right: at.x + 9, top: at.y - 9, bottom: at.y + 9 });
    taken.push({ left: at.x - 3, right: at.x + 3, top: at.high, bottom: at.low });
    taken.push({ left: at.x, right: at.end, top: at.y - 2, bottom: at.y + 2 });
    return { row, group, at };
  });
  const own = shape(svg, "text", { class: "halo strong" }, `first stage ${fixed(line)}`);
  const length = own.getComputedTextLength(), spots = [];
  for (let left = box.left + 4; left + length < box.right; left += 12) spots.push(left);
  const freest = bestOf(spots.map((left) => ({ left, right: left + length, top: y(line) - 20, bottom: y(line) - 2 })), (spot) => covered(spot, taken));
  taken.push(freest, { left: box.left, right: box.right, top: y(line) - 1, bottom: y(line) + 1 });
  set(own, { x: freest.left, y: freest.bottom - 5 });
  labelPoints(drawn, taken, box);
}

// The time axis: powers of ten, and steps between them if there is room.
function drawTimes(svg, box, x, fast, slow) {
  const perDecade = (box.right - box.left) / (slow - fast);
  const steps = perDecade > 170 ? [1, 2, 5] : [1];
  const skip = perDecade > 55 ? 1 : 2;
  for (let power = Math.floor(fast); power <= Math.ceil(slow); power += 1) {
    for (const factor of steps) {
      const seconds = factor * 10 ** power;
      if (power % skip || x(seconds) < box.left || x(seconds) > box.right - 8) continue;
      shape(svg, "line", { class: "axis", x1: x(seconds), x2: x(seconds), y1: box.bottom, y2: box.bottom + 5 });
      shape(svg, "text", { x: x(seconds), y: box.bottom + 20, "text-anchor": "middle" }, duration(seconds).replace(".0 ", " "));
    }
  }
}

function labelPoints(drawn, taken, box) {
  for (const { row, group, at } of drawn) {
    const name = shape(group, "text", { class: "name halo" }, shortened(shortNames.get(row.name), Math.min(36, Math.floor((box.right - box.left) / 9))));
    const numbers = shape(group, "text", { class: "halo" }, `${fixed(row.metrics[0].value)}, ${duration(row.p50)}`);
    const room = Math.max(name.getComputedTextLength(), numbers.getComputedTextLength());
    const label = clearPlace(at, room, 34, taken, box);
    taken.push(label);
    if (Math.abs((label.top + label.bottom) / 2 - at.y) > 40) {
      const near = label.top > at.y ? label.top : label.bottom;
      const leader = shape(group, "line", { class: "leader", x1: at.x, y1: at.y, x2: label.before ? label.right - 8 : label.left + 8, y2: near });
      group.prepend(leader); // below the point
    }
    const anchor = label.before ? { x: label.right, "text-anchor": "end" } : { x: label.left, "text-anchor": "start" };
    set(name, { ...anchor, y: label.top + 13 });
    set(numbers, { ...anchor, y: label.top + 29 });
  }
}

// The place around a point at which a label of this size covers the least; beside the point if all else is equal.
function clearPlace(at, width, height, taken, box) {
  const places = [];
  for (const before of [false, true]) {
    for (const gap of [12, 4]) {
      for (const down of [0, -20, 20, -34, 34, -48, 48, -66, 66, -90, 90]) {
        const left = before ? at.x - gap - width : at.x + gap, top = at.y - height / 2 + down;
        const place = { before, left, right: left + width, top, bottom: top + height };
        const outside = Math.max(0, box.left - left) + Math.max(0, place.right - box.right) + Math.max(0, box.top - top) + Math.max(0, place.bottom - box.bottom + 4);
        places.push({ ...place, cost: outside * 60 + Math.abs(down) * 1.5 + (before ? 6 : 0) + (gap === 4 ? 3 : 0) });
      }
    }
  }
  return bestOf(places, (place) => place.cost + covered(place, taken));
}

function covered(place, taken) {
  let cost = 0;
  for (const other of taken) {
    const across = Math.min(place.right, other.right) - Math.max(place.left, other.left) + 4;
    const along = Math.min(place.bottom, other.bottom) - Math.max(place.top, other.top) + 2;
    if (across > 0 && along > 0) cost += 40 + across * along;
  }
  return cost;
}

const bestOf = (places, cost) => places.map((place) => [cost(place), place]).reduce((a, b) => (b[0] < a[0] ? b : a))[1];

function drawRows() {
  const heads = ["Reranker", ...data.metrics, "Difference", `${data.confidence} interval`, "Better, worse, same", "Median time", "95th percentile"];
  const partly = rerankers.some((row) => row.metrics.length && row.answered < data.queries.length);
  if (partly) heads.push("Answered");
  const rows = data.rows.map((row) => {
    const cells = [element("th", { scope: "row" }, row.name)];
    if (!row.metrics.length) {
      cells.push(element("td", { class: "reason", colspan: heads.length - 1 }, shortened(row.failure ?? "no answer", 300)));
    } else {
      const compared = row.metrics[0], kind = direction(compared);
      for (const metric of row.metrics) cells.push(element("td", {}, fixed(metric.value)));
      if (row === firstStage) cells.push(element("td", { colspan: 5 }));
      else {
        cells.push(element("td", { class: kind === "flat" ? "" : `${kind} clear` }, signed(compared.value - compared.first_stage)));
        cells.push(element("td", {}, compared.interval ? `${signed(compared.interval[0])} to ${signed(compared.interval[1])}` : "\u2013"));
        cells.push(element("td", {}, `${compared.wins}, ${compared.losses}, ${compared.ties}`));
        for (const seconds of [row.p50, row.p95]) cells.push(element("td", {}, seconds === null ? "\u2013" : duration(seconds)));
      }
    }
    if (partly && row.metrics.length) cells.push(element("td", {}, row === firstStage ? "" : `${row.answered} of ${data.queries.length}`));
    return element("tr", {}, ...cells);
  });
  fillTable("rows", `Difference, interval and counts compare ${data.metrics[0]} with the first stage's.`, heads, rows);
  const notes = [];
  for (const row of rerankers) {
    if (row.failure && row.metrics.length) notes.push(`${row.name}: ${row.failed} failed${row.skipped ? `, ${row.skipped} skipped after that` : ""}: ${shortened(row.failure, 300)}`);
    if (row.fallbacks) notes.push(`${row.name}: ${plural(row.fallbacks, "question", "questions")} answered by a fallback.`);
    if (row.truncated) notes.push(`${row.name}: read only the start of ${plural(row.truncated, "document", "documents")}.`);
    if (row.usage.length) notes.push(`${row.name}: used ${row.usage.map(([unit, count]) => `${count.toLocaleString("en")} ${unit}`).join(", ")}.`);
    if (row.first !== null && row.p95 !== null && row.first > 0.1 && row.first > 2 * row.p95) notes.push(`${row.name}: the first call took ${duration(row.first)}, which the other times leave out.`);
  }
  for (const [reason, count] of data.skippedQueries) notes.push(`${plural(count, "question", "questions")} left out: ${reason}.`);
  byId("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
}

function drawMetrics() {
  const place = byId("metrics");
  place.replaceChildren();
  const rows = data.rows.filter((row) => row.metrics.length);
  place.append(...data.metrics.map((metric) => element("div", { class: "panel" }, element("h3", {}, metric))));
  data.metrics.forEach((metric, at) => {
    const panel = place.children[at];
    const width = Math.max(240, panel.clientWidth), height = rows.length * 40 + 4;
    const svg = canvas(panel, width, height, `${metric}: ${rows.map((row) => `${row.name} ${fixed(row.metrics[at].value)}`).join(", ")}`);
    const top = Math.max(1, ...rows.map((row) => row.metrics[at].value)), x = (value) => (Math.max(0, value) / top) * (width - 2);
    rows.forEach((row, line) => {
      const compared = row.metrics[at], y = line * 40;
      const kind = row === firstStage ? "flat" : direction(compared);
      shape(svg, "text", { class: "strong", x: 0, y: y + 15 }, shortened(shortNames.get(row.name), Math.floor((width - 125) / 7)));
      shape(svg, "text", { class: "strong", x: width - 58, y: y + 15, "text-anchor": "end" }, fixed(compared.value));
      if (row !== firstStage) shape(svg, "text", { class: `t-${kind}`, x: width, y: y + 15, "text-anchor": "end" }, signed(compared.value - compared.first_stage));
      shape(svg, "line", { class: "grid", x1: 0, x2: width, y1: y + 26, y2: y + 26 });
      shape(svg, "rect", { class: `bar s-${kind}`, x: 0, y: y + 21, width: x(compared.value), height: 10, rx: 1 });
    });
    const first = x(firstStage.metrics[at].value);
    rows.forEach((row, line) => shape(svg, "line", { class: "mark", x1: first, x2: first, y1: line * 40 + 18, y2: line * 40 + 34 }));
  });
}
