// The page: choices, and drawing anew when they or the width change.
function choose(changes) {
  const before = { ...state };
  Object.assign(state, changes);
  if (state.reranker !== before.reranker || state.metric !== before.metric) {
    sortQuestions();
    fillQuestions();
    drawGains();
  }
  byId("question").value = String(state.question);
  if (drawGains.mark) drawGains.mark();
  const place = chosenPlace();
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place >= sorted.length - 1;
  const same = state.question === before.question && state.reranker === before.reranker && state.metric === before.metric;
  if (same && drawCandidates.mark) drawCandidates.mark();
  else drawCandidates();
}

function drawAll() {
  drawVerdict();
  drawOverview();
  drawRows();
  drawMetrics();
  drawGains();
  if (cut.row) {
    drawPrompts();
    drawReliability();
  }
}

document.querySelector("main").hidden = false;
fillOptions("reranker", rerankers.map((row) => row.name));
[...byId("reranker").options].forEach((option, at) => { option.disabled = !rerankers[at].metrics.length; });
fillOptions("metric", data.metrics);
byId("reranker").value = String(state.reranker);
byId("reranker").addEventListener("change", (event) => choose({ reranker: Number(event.target.value), document: null }));
byId("metric").addEventListener("change", (event) => choose({ metric: Number(event.target.value) }));
byId("question").addEventListener("change", (event) => choose({ question: Number(event.target.value), document: null }));
byId("previous").addEventListener("click", () => choose({ question: sorted[chosenPlace() - 1].at, document: null }));
byId("next").addEventListener("click", () => choose({ question: sorted[chosenPlace() + 1].at, document: null }));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") closeDocument(); });

startPrompts();
sortQuestions();
fillQuestions();
if (sorted.length) state.question = sorted[0].at;
drawAll();
choose({});
drawCandidates();

let width = document.body.clientWidth;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  drawAll();
}).observe(document.body);
