// What a score means: the share of relevant documents in each tenth of the scores, before and after calibrating.
function drawReliability() {
  const { name, bins, calibration } = cut.row;
  byId("reliability-section").hidden = !bins.length;
  const place = byId("reliability");
  place.replaceChildren();
  if (!bins.length) return;
  byId("reliability-note").textContent = `${name}: each bar is the share of relevant documents among those with such a score, with their number above it. On the dashed line, a score of 0.7 means that 70\u00a0% are relevant. ${calibration ? "The second picture shows these same documents after the fit." : "These scores cannot be calibrated: they do not rise with relevance, or all or none of the documents are relevant."} Documents that are not judged count as not relevant.`;
  byId("calibrated").textContent = calibration ? `Calibrated(reranker, slope=${Number(calibration.slope.toPrecision(4))}, intercept=${Number(calibration.intercept.toPrecision(4))})` : "";
  const pictures = [["Scores as they are", bins], ...(calibration ? [["Calibrated scores", calibration.bins]] : [])];
  const panels = pictures.map(([title]) => element("div", { class: "panel" }, element("h3", {}, title)));
  place.append(...panels);
  pictures.forEach(([title, held], at) => drawBins(panels[at], title, held));
}

function drawBins(panel, title, bins) {
  const width = Math.max(240, panel.clientWidth), height = 250;
  const box = { left: 50, right: width - 10, top: 20, bottom: height - 40 };
  const words = bins.map(([low, high, documents, , share]) => `from ${low} to ${high}, ${percent(share)} of ${plural(documents, "document", "documents")}`);
  const svg = canvas(panel, width, height, `${title}, and the share of relevant documents: ${words.join("; ")}`);
  const x = (score) => box.left + score * (box.right - box.left), y = (share) => box.bottom - share * (box.bottom - box.top);
  for (const share of [0, 0.5, 1]) {
    rule(svg, box, y(share), share ? "grid" : "axis", `${share * 100}\u00a0%`);
    shape(svg, "text", { x: x(share), y: box.bottom + 18, "text-anchor": share === 1 ? "end" : "middle" }, String(share));
  }
  shape(svg, "text", { x: box.right, y: height - 4, "text-anchor": "end" }, "score");
  for (const [low, high, , , share] of bins) {
    const bar = { x: x(low) + 1.5, width: x(high) - x(low) - 3, y: y(Math.max(share, 0.008)) };
    shape(svg, "rect", { class: "bar s-gain soft-bar", ...bar, height: box.bottom - bar.y });
  }
  shape(svg, "line", { class: "first", x1: x(0), x2: x(1), y1: y(0), y2: y(1) });
  for (const [low, high, documents, , share] of bins) {
    const text = documents < 10000 ? String(documents) : `${Math.round(documents / 1000)}k`;
    shape(svg, "text", { class: "halo", x: (x(low) + x(high)) / 2, y: y(Math.max(share, 0.008)) - 5, "text-anchor": "middle" }, text);
  }
}
