// The bump chart: first stage on the left, the reranker's order on the right, a line for each candidate between.
const ROW = 32; // pixels; 2rem in the style

function drawCandidates() {
  const query = data.queries[state.question], row = rerankers[state.reranker];
  const bump = byId("bump");
  byId("asked").textContent = query.text;
  bump.replaceChildren();
  const own = query.values[state.reranker + 1], first = query.values[0];
  const metric = data.metrics[state.metric];
  const outcome = own ? `${metric} ${fixed(own[state.metric])}, first stage ${fixed(first[state.metric])}.` : `${row.name} did not answer this question.`;
  if (!query.detailed) {
    byId("outcome").textContent = `${outcome} This page leaves out this question's candidates.`;
    showDocument();
    return;
  }
  const missed = query.missed.length ? ` Not among the candidates: ${query.missed.join(", ")}.` : "";
  const relevant = query.grades.filter((grade) => grade > 0).length;
  byId("outcome").textContent = `${outcome} ${plural(relevant, "candidate is", "candidates are")} relevant, shown in colour.${missed}`;
  const order = query.orders[state.reranker];
  if (!order) {
    showDocument();
    return;
  }
  const parts = new Map(query.documents.map((_, at) => [at, []]));
  const light = (at, lit) => parts.get(at).forEach((part) => part.classList.toggle("lit", lit));
  const item = (at, rank, side, score = null) => {
    const document_ = data.documents[query.documents[at]], now = order.indexOf(at);
    const kind = query.grades[at] > 0 ? "relevant" : "";
    const name = document_.title ?? document_.source ?? document_.text.slice(0, 80);
    const button = element("button", { type: "button", class: kind, "aria-pressed": String(state.document === at), "data-candidate": at, title: name },
      element("span", { class: "rank" }, String(rank + 1)), element("span", { class: "title" }, name || "(blank)"));
    if (side === "after") {
      button.append(element("span", { class: "score" }, score === null ? "" : score.toFixed(2)));
      const moved = now === at ? "unchanged" : `was ${at + 1}`;
      button.setAttribute("aria-label", `${rank + 1}, ${moved}: ${name}${kind ? ", relevant" : ""}`);
    } else {
      button.setAttribute("tabindex", "-1");
      button.setAttribute("aria-label", `first stage ${rank + 1}: ${name}${kind ? ", relevant" : ""}`);
    }
    button.addEventListener("click", () => choose({ document: state.document === at ? null : at }));
    for (const [event, lit] of [["pointerenter", true], ["pointerleave", false], ["focus", true], ["blur", false]]) {
      button.addEventListener(event, () => light(at, lit));
    }
    parts.get(at).push(button);
    return element("li", {}, button);
  };
  const count = query.documents.length;
  const before = element("ol", { "aria-label": "First stage" }, ...query.documents.map((_, at) => item(at, at, "before")));
  const after = element("ol", { "aria-label": row.name }, ...order.map((at, rank) => item(at, rank, "after", query.reranked[state.reranker][rank])));
  const middle = element("div", {});
  const svg = shape(middle, "svg", { viewBox: `0 0 100 ${count * ROW}`, preserveAspectRatio: "none", height: `${count * 2}rem`, "aria-hidden": "true" });
  const threads = query.documents.map((_, at) => at).sort((a, b) => query.grades[a] - query.grades[b]); // relevant ones on top
  for (const at of threads) {
    const now = order.indexOf(at), y = (rank) => rank * ROW + ROW / 2;
    if (now < 0) continue;
    const thread = shape(svg, "path", { class: query.grades[at] > 0 ? "relevant" : "", d: `M0 ${y(at)}C45 ${y(at)} 55 ${y(now)} 100 ${y(now)}` });
    parts.get(at).push(thread);
  }
  bump.append(element("h3", {}, "First stage"), element("span", {}), element("h3", {}, row.name), before, middle, after);
  drawCandidates.mark = () => {
    for (const button of bump.querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.candidate) === state.document));
    showDocument();
  };
  showDocument();
}

function closeDocument() {
  const inside = byId("document").contains(document.activeElement);
  const candidate = byId("bump").querySelector('[aria-pressed="true"]:not([tabindex])');
  choose({ document: null });
  if (inside && candidate) candidate.focus(); // what had the focus is gone
}

function showDocument() {
  const place = byId("document"), query = data.queries[state.question];
  place.replaceChildren();
  place.classList.toggle("empty", state.document === null);
  if (state.document === null || !query.detailed) {
    place.append(element("p", { class: "soft" }, "Choose a candidate to read it."));
    return;
  }
  const at = state.document, about = data.documents[query.documents[at]];
  const order = query.orders[state.reranker] ?? [], now = order.indexOf(at);
  const close = element("button", { type: "button", class: "close", "aria-label": "Close" }, "\u00d7");
  close.addEventListener("click", closeDocument);
  const facts = element("dl");
  const fact = (name, value) => facts.append(element("dt", {}, name), element("dd", {}, value));
  fact("First stage", `place ${at + 1}, score ${scored(query.scores[at])}`);
  fact("Reranked", now < 0 ? "left out" : `place ${now + 1}, score ${scored(query.reranked[state.reranker][now])}`);
  fact("Relevant", query.grades[at] > 0 ? `yes, grade ${query.grades[at]}` : "no, or not judged");
  if (about.source) fact("Source", about.source);
  fact("Id", about.id);
  place.append(close, element("h3", {}, about.title ?? about.source ?? about.id), facts, element("p", { class: "text" }, about.text));
  place.scrollTop = 0;
}
