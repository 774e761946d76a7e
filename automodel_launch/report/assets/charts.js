/* Curves with uPlot. A curve has its points by step, tokens and time; the page's state chooses what is drawn. */
const CHARTS = [
  ["loss", "Loss", true], ["tps", "Tokens a second", false], ["mfu", "Model FLOPs utilization, %", false], ["grad_norm", "Gradient norm", true],
  ["lr", "Learning rate", false], ["mem_gib", "GPU memory, GiB", false],
];
const X = { step: "Steps", tokens: "Tokens", time: "Hours" };

function points(run, curve, x) {
  const xs = x === "time" ? curve.time.map((time) => (time - run.began) / 3600) : curve[x] || [];
  const out = [[], []];
  let before = -Infinity;
  xs.forEach((value, index) => {
    if (value === null || !(value > before)) return;
    before = value;
    out[0].push(value);
    out[1].push(curve.value[index]);
  });
  return out;
}

function label(run, curve, several) {
  const kind = { raw: "train", smooth: "train, smoothed", validation: "validation", evaluation: "evaluation" }[curve.kind];
  return [several ? run.shown : null, curve.label ? `${kind} ${curve.label}` : kind].filter(Boolean).join(" · ");
}

function chosen(runs, name, state) {
  const found = [];
  runs.forEach((run, index) => run.curves[name].forEach((curve) => {
    const alone = curve.kind === "raw" && !run.curves[name].some((other) => other.kind === "smooth");
    if (state[curve.kind] || alone) found.push({ run, curve, index, alone });
  }));
  return found;
}

function series(entry, several) {
  const { run, curve, index, alone } = entry;
  const validation = curve.kind === "validation", evaluation = curve.kind === "evaluation";
  const base = colour(`c${(several ? index : validation ? 1 : evaluation ? 2 + run.curves.loss.filter((each) => each.kind === "evaluation").indexOf(curve) : index) % 8}`);
  const faint = curve.kind === "raw" && !alone;
  return {
    label: label(run, curve, several), spanGaps: false,
    stroke: faint ? base + "77" : base, width: faint ? 1 : 1.75, dash: evaluation ? [2, 4] : validation && several ? [6, 4] : undefined,
    points: { show: validation || evaluation || curve.value.length < 3 ? true : undefined, size: evaluation ? 9 : 6, fill: evaluation ? colour("page") : base },
    value: (_, value) => (value === null || value === undefined ? "–" : number(value)),
  };
}

function axes(x, log) {
  const style = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const y = log ? (_, values) => values.map((value) => (value === null ? null : number(value, 3))) : (_, values) => values.map((value) => (Math.abs(value) >= 10000 ? short(value) : number(value, 4)));
  return [{ ...style, size: 36, values: (_, values) => values.map(short) }, { ...style, size: 64, values: y }];
}

function draw(host, runs, name, state, canLog) {
  const log = state.log && canLog;
  const entries = chosen(runs, name, state);
  const tables = entries.map((entry) => points(entry.run, entry.curve, state.x));
  if (log) tables.forEach((table) => (table[1] = table[1].map((value) => (value > 0 ? value : null))));
  const data = tables.length ? uPlot.join(tables) : [[], []];
  const several = runs.length > 1;
  const plot = new uPlot({
    width: Math.max(200, host.clientWidth), height: host.parentElement.classList.contains("wide") ? 340 : 220,
    cursor: { sync: { key: "report" }, focus: { prox: 24 } }, focus: { alpha: 0.35 },
    scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
    axes: axes(state.x, log),
    hooks: { drawAxes: [(plot) => marks(plot, runs, state.x)] },
    series: [{ label: X[state.x], value: (_, value) => (value === null || value === undefined ? "–" : state.x === "step" ? number(value) : short(value)) },
      ...entries.map((entry) => series(entry, several))],
  }, data, host);
  for (const row of host.querySelectorAll(".u-legend .u-series:not(:first-child) th")) {
    row.tabIndex = 0;
    row.setAttribute("role", "button");
    row.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); row.click(); } });
  }
  return plot;
}

/* Where a step lies on the axis that is shown: at the first point of the run's loss that is not before it. */
function place(run, step, x) {
  if (x === "step") return step;
  const curve = run.curves.loss.find((each) => each.kind === "raw"), index = curve ? curve.step.findIndex((each) => each >= step) : -1;
  if (index < 0 || !(x === "time" || curve.tokens)) return null;
  return x === "time" ? (curve.time[index] - run.began) / 3600 : curve.tokens[index];
}

/* Runs whose data change in their course; of many runs the lines would tell nothing. */
function phased(runs) {
  return runs.length > MANY ? [] : runs.filter((run) => run.phases.length > 1);
}

/* A line where a phase of the data begins, with its name. */
function marks(plot, runs, x) {
  const { ctx, bbox } = plot, ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.font = `${12 * ratio}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  ctx.setLineDash([3 * ratio, 3 * ratio]);
  ctx.lineWidth = ratio;
  let free = bbox.left;
  for (const run of phased(runs)) for (const phase of run.phases) {
    const value = place(run, phase.first, x), left = value === null ? NaN : plot.valToPos(value, "x", true);
    if (!(left >= bbox.left && left <= bbox.left + bbox.width)) continue;
    ctx.strokeStyle = ctx.fillStyle = colour(runs.length > 1 ? `c${runs.indexOf(run) % 8}` : "quiet");
    if (phase.first) {
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
    }
    const width = ctx.measureText(phase.name).width + 12 * ratio;
    if (left < free || left + width > bbox.left + bbox.width) continue; // the words below the chart have it
    ctx.fillText(phase.name, left + 5 * ratio, bbox.top + 3 * ratio);
    free = left + width;
  }
  ctx.restore();
}

function summary(runs, name, title) {
  const words = runs.map((run) => {
    const curve = run.curves[name].find((each) => each.kind === "raw");
    if (!curve) return `${run.shown}: none`;
    const last = curve.value.length - 1;
    return `${run.shown}: ${number(curve.value[0])} at step ${curve.step[0]}, ${number(curve.value[last])} at step ${curve.step[last]}`;
  });
  return `${title}. ${words.join("; ")}`;
}
