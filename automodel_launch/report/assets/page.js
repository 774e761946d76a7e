/* The page: fills each section from the data. */
const data = JSON.parse(document.getElementById("data").textContent);
const runs = data.runs;
for (const run of runs) run.shown = run.label || run.name;
const several = runs.length > 1;
const at = (id) => document.getElementById(id);
const PARTS = { steps: "steps that count", lost_steps: "lost steps", startup: "start-up", validation: "validation", saving: "saving", idle: "idle", spare: "spare nodes", work: "a script without steps", outside: "outside the attempts", queued: "queued" };
const MANY = 3; // runs of which everything is told at once
const LONG = 40, MOST_COLUMNS = 8; // rows of a table that is shown unfolded, and columns of keys
const state = { x: "step", log: false, raw: !several, smooth: true, validation: runs.length <= MANY, evaluation: runs.length <= MANY };
let plots = [];

function swatch(kind) {
  return make("span", { class: "swatch", "aria-hidden": "true", style: { background: `var(--${kind})` } });
}

function hours(run) {
  return `${number(run.goodput.hours, 3)} ${run.goodput.unit}-hours`;
}

function lastValidation(run) {
  const curve = run.curves.loss.find((each) => each.kind === "validation" && each.value.length);
  return curve ? [curve.value[curve.value.length - 1], curve.step[curve.step.length - 1]] : [null, null];
}

function tokens(run) {
  const curve = run.curves.loss.find((each) => each.kind === "raw");
  return curve && curve.tokens ? curve.tokens[curve.tokens.length - 1] : null;
}

/* Percent, as the last step told it. */
function utilization(run) {
  const curve = run.curves.mfu[0];
  return curve && curve.value.length ? curve.value[curve.value.length - 1] : null;
}

function overview() {
  if (several) {
    const rows = runs.map((run, index) => [make("span", {}, swatch(`c${index % 8}`), run.shown), run.state, number(run.last.step), number(run.last.loss),
      number(lastValidation(run)[0]), tokens(run) === null ? "–" : short(tokens(run)), hours(run), percent(run.goodput.goodput)]);
    return table(["Run", "State", "#Step", "#Loss", "#Validation", "#Tokens", "#Cost", "#Goodput"], rows);
  }
  const run = runs[0], [validation, where] = lastValidation(run);
  const tile = (name, value, more) => make("div", {}, make("dt", {}, name), make("dd", {}, value, more ? make("small", {}, more) : null));
  const bad = run.not_finite;
  const tiles = [
    tile("State", run.state, `${run.attempts.length} attempt${run.attempts.length === 1 ? "" : "s"}`),
    tile("Last step", number(run.last.step), run.max_steps ? `of ${number(run.max_steps)}, counted from 0` : null),
    tile("Loss", number(run.last.loss), bad.count ? `not finite at ${number(bad.count)} steps, first ${bad.first[0]}` : null),
    validation === null ? null : tile("Validation loss", number(validation), `at step ${number(where)}`),
    tokens(run) === null ? null : tile("Tokens", short(tokens(run))),
    run.last.tps ? tile("Tokens a second", short(run.last.tps), run.last.tps_per_gpu ? `${short(run.last.tps_per_gpu)} per process` : null) : null,
    utilization(run) === null ? null : tile("MFU", `${number(utilization(run), 3)}%`, `of ${short(run.gpu.peak / 1e12)} TFLOP/s, ${run.gpu.model}`),
    tile("Cost", number(run.goodput.hours, 3), `${run.goodput.unit}-hours`),
    run.goodput.goodput === null ? null : tile("Goodput", percent(run.goodput.goodput), "of that in steps that count")].filter(Boolean);
  return make("dl", { class: tiles.length > 8 ? "tiles five" : "tiles" }, ...tiles);
}

function choice() {
  const group = make("fieldset", { class: "choice" }, make("legend", { class: "quiet", style: { position: "absolute", left: "-9999px" } }, "Horizontal axis"));
  for (const [key, text] of Object.entries(X)) {
    const has = key !== "tokens" || runs.every((run) => run.curves.loss.every((curve) => curve.tokens));
    const input = make("input", { type: "radio", name: "x", id: `x-${key}`, value: key });
    input.checked = key === state.x;
    input.disabled = !has;
    input.addEventListener("change", () => { state.x = key; redraw(); });
    group.append(input, make("label", { for: `x-${key}` }, text));
  }
  return group;
}

function toggle(key, text) {
  const input = make("input", { type: "checkbox", id: `t-${key}` });
  input.checked = state[key];
  input.addEventListener("change", () => { state[key] = input.checked; redraw(); });
  return make("label", {}, input, text);
}

function redraw() {
  plots.forEach((plot) => plot.destroy());
  plots = [];
  at("charts").replaceChildren();
  for (const [name, title, canLog] of CHARTS) {
    if (!runs.some((run) => run.curves[name].some((curve) => curve.value.length))) continue;
    const host = make("div", { role: "img", "aria-label": summary(runs, name, title) });
    const box = make("div", { class: name === "loss" ? "chart wide" : "chart", "data-chart": name }, make("h3", {}, title), host);
    at("charts").append(box);
    plots.push(draw(host, runs, name, state, canLog));
    if (name === "loss") box.append(...phases());
  }
  for (const id of ["controls", "drawn"]) at(id).hidden = !plots.length;
  if (!plots.length) at("charts").append(make("p", { class: "none" }, "No step was logged yet."));
}

/* The dashed lines in words. */
function phases() {
  return phased(runs).map((run) => make("p", { class: "quiet phases" }, `${several ? `${run.shown}: p` : "P"}hases of the data (dashed lines): `,
    run.phases.map((each) => `${each.name}, steps ${number(each.first)} to ${number(each.last)}`).join("; "), "."));
}

function parts(run) {
  return Object.entries(run.goodput.parts).filter(([, value]) => value > 0);
}

function bar(run) {
  const total = run.goodput.hours;
  return make("div", { class: "bar", role: "img", "aria-label": parts(run).map(([part, value]) => `${PARTS[part]} ${percent(value / total)}`).join(", ") },
    ...parts(run).map(([part, value]) => make("span", { title: `${PARTS[part]}: ${percent(value / total)} (${number(value, 3)} h)`, style: { width: `${(value / total) * 100}%`, background: `var(--${part})` } })));
}

function startups(of) {
  const phases = [...new Set(of.flatMap((run) => Object.keys(run.goodput.startup)))];
  if (!phases.length) return null;
  const cell = (run, phase) => (phase in run.goodput.startup ? `${number(run.goodput.startup[phase], 3)} (${percent(run.goodput.startup[phase] / run.goodput.hours)})` : "–");
  const rows = of.length > MANY ? of.map((run) => [run.shown, ...phases.map((phase) => cell(run, phase))]) : phases.map((phase) => [phase, ...of.map((run) => cell(run, phase))]);
  const heads = of.length > MANY ? ["Run", ...phases.map((phase) => `#${phase}`)] : ["Phase", ...of.map((run) => (several ? `#${run.shown}, hours` : "#Hours"))];
  return make("details", {}, make("summary", {}, "Start-up by phase"), table(heads, rows));
}

function cost() {
  const begun = runs.filter((run) => run.goodput.hours);
  if (!begun.length) return [make("p", { class: "quiet" }, "No attempt has begun yet.")];
  const sum = (key) => begun.reduce((total, run) => total + key(run), 0);
  const total = sum((run) => run.goodput.hours), kept = sum((run) => run.goodput.parts.steps), units = new Set(begun.map((run) => run.goodput.unit));
  const unit = units.size === 1 ? [...units][0] : "device";
  const share = begun.some((run) => run.goodput.goodput !== null) ? `${percent(kept / total)} of them in steps that count; ` : "";
  const words = `${number(total, 3)} ${unit}-hours, ${share}${duration(sum((run) => run.goodput.queued_s))} in the queue, which count for none of them`;
  const key = (part) => {
    const value = sum((run) => run.goodput.parts[part]);
    return make("li", {}, swatch(part), `${PARTS[part]} ${percent(value / total)} (${number(value, 3)} h)`);
  };
  const grid = several ? make("div", { class: "lanes" }, ...begun.flatMap((run) => [make("span", {}, `${run.shown} ${percent(run.goodput.goodput)}`), bar(run)])) : bar(runs[0]);
  const all = Object.keys(PARTS).filter((part) => begun.some((run) => run.goodput.parts[part] > 0));
  return [make("p", { class: "quiet" }, several ? `Together ${words}.` : `${words}.`), grid, make("ul", { class: "key" }, ...all.map(key)), startups(begun)].filter(Boolean);
}

/* How long each rank computes outside of collectives; the redder, the longer the others wait for it. */
function ranks() {
  return runs.filter((run) => run.rank_times).map((run) => {
    const of = run.rank_times, few = of.ranks.length < of.of ? `The ${of.ranks.length} slowest of ${of.of} ranks. ` : "";
    const cell = (value, index) => {
      const heat = value === null ? 0 : Math.max(0, Math.min(1, (value - of.median_s[index]) / of.step_s[index]));
      return make("span", { class: "heat", style: { background: `color-mix(in srgb, var(--lost_steps) ${Math.round(80 * heat)}%, transparent)` } }, value === null ? "–" : number(value, 3));
    };
    return part(run, make("p", { class: "quiet" }, `${few}Seconds of a step outside of collectives, in samples; the redder, the longer the others wait for that rank.`),
      table(["Rank", ...of.steps.map((step) => `#Step ${step}`)], [...of.ranks.map((row) => [`${row.rank}`, ...row.times.map(cell)]), ["Whole step", ...of.step_s.map((value) => number(value, 3))]]));
  });
}

/* Of many runs a row each; of a few a column each. Files of code stand folded, and so does a long table. */
function differing() {
  const code = data.differences.filter((row) => row.key.startsWith("code: ")), rows = data.differences.filter((row) => !code.includes(row));
  const files = code.length ? make("details", {}, make("summary", {}, `${code.length} file${code.length === 1 ? "" : "s"} of code`), columns(code)) : null;
  const keys = rows.length > LONG ? make("details", {}, make("summary", {}, `${rows.length} keys`), keyed(rows)) : keyed(rows);
  return make("div", {}, keys, files);
}

function columns(rows) {
  return table(["Key", ...runs.map((run) => run.shown)], rows.map((row) => [make("code", {}, row.key.replace(/^code: (code\/)?/, "")), ...row.values.map(said)]));
}

function keyed(rows) {
  if (!rows.length) return make("p", { class: "quiet" }, data.differences.length ? "No key of config or profile." : "Nothing.");
  if (runs.length <= MANY || rows.length > MOST_COLUMNS) return columns(rows);
  return table(["Run", ...rows.map((row) => row.key), "#Loss", "#Validation"], runs.map((run, index) => [make("span", {}, swatch(`c${index % 8}`), run.shown), ...rows.map((row) => said(row.values[index])), number(run.last.loss), number(lastValidation(run)[0])]));
}

function lanes(run) {
  const all = run.attempts.flatMap((attempt) => attempt.segments);
  const from = Math.min(...all.map((part) => part.start)), until = Math.max(...all.map((part) => part.end)), span = until - from || 1;
  const grid = make("div", { class: "lanes" });
  for (const attempt of run.attempts) {
    const name = `${attempt.job_id} · ${attempt.number}`;
    const words = attempt.segments.map((part) => `${PARTS[part.kind]} ${duration(part.end - part.start)}`);
    const lane = make("div", { class: "lane", role: "img", "aria-label": `${name}: ${words.slice(0, 12).join(", ")}` });
    for (const part of attempt.segments)
      lane.append(make("i", { title: `${PARTS[part.kind]}, ${duration(part.end - part.start)}, from ${moment(part.start)}`, style: { left: `${((part.start - from) / span) * 100}%`, width: `${((part.end - part.start) / span) * 100}%`, background: `var(--${part.kind})` } }));
    grid.append(make("span", {}, name), lane);
  }
  grid.append(make("span", {}), make("div", { class: "ends quiet" }, make("span", {}, moment(from)), make("span", {}, moment(until))));
  const kinds = Object.keys(PARTS).filter((kind) => all.some((part) => part.kind === kind));
  return [grid, make("ul", { class: "key" }, ...kinds.map((kind) => make("li", {}, swatch(kind), PARTS[kind])))];
}

function attempts() {
  return runs.map((run) => {
    if (!run.attempts.length) return part(run, make("p", { class: "quiet" }, "No attempt has begun yet."));
    const rows = run.attempts.map((attempt) => [`${attempt.job_id} · ${attempt.number}${attempt.slurm_id ? ` (Slurm ${attempt.slurm_id})` : ""}`, moment(attempt.began),
      duration(attempt.seen - attempt.began), attempt.nodes.length > 4 ? `${attempt.nodes[0]} and ${attempt.nodes.length - 1} more` : attempt.nodes.join(", ") || "–",
      attempt.from_step === null ? "–" : `${number(attempt.from_step)} to ${number(attempt.to_step)}`, attempt.state || (attempt.ended === null ? "not ended" : "–"),
      [attempt.why, attempt.node ? `on ${attempt.node}` : null].filter(Boolean).join(", ") || "–"]);
    return part(run, ...lanes(run), table(["Job · attempt", "Began", "Took", "Nodes", "Steps", "End", "Why"], rows));
  });
}

function checkpoints() {
  const evaluated = (run, step) => run.evaluations.filter((each) => each.step === step).map((each) => (each.name === "default" ? number(each.loss) : `${each.name} ${number(each.loss)}`)).join(", ");
  const more = (run, each) => (run.evaluations.length ? [evaluated(run, each.step) || "–"] : []);
  return runs.map((run) => part(run, run.checkpoints.length
    ? table(["Name", "#Step", "State", ...(run.evaluations.length ? ["Evaluated loss"] : []), "Path"],
      run.checkpoints.map((each) => [each.name, number(each.step), each.complete ? "complete" : "incomplete", ...more(run, each), make("code", {}, each.path)]))
    : make("p", { class: "quiet" }, "None was found.")));
}

/* What is told of one run: below its name where there are several, and folded where there are many. */
function part(run, ...children) {
  if (runs.length > MANY) return make("details", {}, make("summary", {}, run.shown), ...children);
  return make("div", {}, several ? make("h3", {}, run.shown) : null, ...children);
}

function findings() {
  return runs.map((run) => part(run, run.findings.length ? make("ul", { class: "findings" }, ...run.findings.map((each) => make("li", {},
    make("span", { class: `level ${each.level === "note" ? "" : "loud"}` }, each.level), make("div", {}, each.message, " ", make("code", { class: "quiet" }, `[${each.code}]`),
      each.fix ? make("div", { class: "quiet" }, "to do: ", make("code", {}, each.fix)) : null))))
    : make("p", { class: "quiet" }, "None.")));
}

function plan() {
  return runs.map((run) => {
    const p = run.plan, command = Array.isArray(p.command) ? p.command.join(" ") : p.command;
    const rows = [["What", [p.recipe, p.config_name].filter(Boolean).join(" -c ")], ["Changed on the command line", p.overrides.map((each) => `${each.key}=${said(each.value)}`).join("  ")],
      ["Where", [p.profile && `profile ${p.profile}`, p.executor, p.nodes && `${p.nodes} node${p.nodes === 1 ? "" : "s"}`, p.world_size && `${p.world_size} process${p.world_size === 1 ? "" : "es"}`].filter(Boolean).join(", ")],
      ["Image", p.container_image], ["Commit", p.commit], ["Run", run.label ? run.name : null], ["Run directory", p.run_dir], ["Command", command], ["Plan", p.plan_hash]].filter(([, value]) => value);
    const changes = run.changes.map((change) => make("div", {}, make("h3", {}, `From ${change.from} to ${change.to}`), change.rows.length
      ? table(["Key", "Before", "After"], change.rows.map((row) => [row.key, ...row.values.map(said)])) : make("p", { class: "quiet" }, "The same plan.")));
    const config = Object.entries(p.config).map(([key, value]) => [make("code", {}, key), make("code", {}, said(value))]);
    return part(run, table(["Of the last job", ""], rows.map(([name, value]) => [name, make("code", {}, value)])), ...changes,
      config.length ? make("details", {}, make("summary", {}, `The resolved config, ${config.length} keys`), table(["Key", "Value"], config)) : null);
  });
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  at("theme").textContent = theme === "dark" ? "Light" : "Dark";
  at("theme").setAttribute("aria-label", `Change to ${theme === "dark" ? "light" : "dark"} colours`);
  redraw();
}

function start(theme) {
  document.title = at("title").textContent = data.title || (several ? `${runs.length} runs` : runs[0].name);
  at("subtitle").textContent = `${several ? `${runs.length > MANY ? `${runs.length} runs` : runs.map((run) => run.shown).join(", ")}. ` : ""}Written ${moment(data.made)}${data.again_s ? `, and again every ${duration(data.again_s)} while it goes on` : ""}`;
  at("overview").append(overview());
  at("controls").append(choice(), ...[["raw", "raw"], ["smooth", "smoothed"], ["validation", "validation"],
    ...(runs.some((run) => run.evaluations.length) ? [["evaluation", "evaluations"]] : []), ["log", "log scale (loss, gradient norm)"]].map(([key, text]) => toggle(key, text)));
  const reset = make("button", { type: "button", id: "reset" }, "Reset zoom");
  reset.addEventListener("click", redraw);
  at("controls").append(reset);
  at("cost").append(...cost());
  at("attempts").append(...attempts());
  if (runs.some((run) => run.rank_times)) at("ranks").append(...ranks());
  else at("s-ranks").remove();
  at("checkpoints").append(...checkpoints());
  at("plan").append(...plan());
  if (runs.some((run) => run.findings.length)) at("findings").append(...findings());
  else at("s-findings").remove();
  if (several) at("differences").append(differing());
  else at("s-differences").remove();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  at("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  setTheme(theme || (dark.matches ? "dark" : "light"));
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
}

/* Of a run that goes on: the page is written again, and is looked at again, unless somebody is at it. */
const KEPT = `report ${runs.map((run) => run.shown).join(" ")}`;
let touched = -Infinity;

function remember() {
  try { sessionStorage.setItem(KEPT, JSON.stringify({ ...state, theme: document.documentElement.dataset.theme })); } catch { /* a browser that keeps nothing for files */ }
}

function recall() {
  try {
    const { theme, ...kept } = JSON.parse(sessionStorage.getItem(KEPT) || "{}");
    Object.assign(state, Object.fromEntries(Object.entries(kept).filter(([key]) => key in state)));
    return theme;
  } catch { return null; }
}

function zoomed(plot) {
  const x = plot.data[0], { min, max } = plot.scales.x;
  return x && x.length > 1 && (min > x[0] || max < x[x.length - 1]);
}

function touch(event) { // browsers tell of a mouse that rests, too, where the page moves below it
  if (event.type !== "pointermove" || event.movementX || event.movementY) touched = performance.now();
}

function lookAgain() {
  if (performance.now() - touched < 15000 || plots.some(zoomed)) setTimeout(lookAgain, 5000);
  else { remember(); location.reload(); }
}

if (data.again_s) {
  for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"]) addEventListener(kind, touch, { passive: true });
  setTimeout(lookAgain, 1000 * data.again_s + 1000);
}

start(recall());
