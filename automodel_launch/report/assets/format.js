/* Elements and words. Text goes through textContent alone, never through innerHTML. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "style") Object.assign(element.style, value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function number(value, digits = 5) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e15)) return Number(value.toPrecision(digits)).toExponential();
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return Number(value.toPrecision(digits)).toLocaleString("en-US", { maximumFractionDigits: 8 });
}

function short(value) {
  for (const [size, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]])
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(4))}${unit}`;
  return number(value, 4);
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds), days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24;
  const minutes = Math.floor(whole / 60) % 60;
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

function moment(time) {
  if (time === null || time === undefined) return "–";
  const date = new Date(time * 1000), two = (n) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function percent(share) {
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)}%`;
}

function said(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/* Cells are texts or elements; a heading that begins with # is one of numbers. */
function table(headings, rows) {
  const numeric = headings.map((heading) => heading.startsWith("#"));
  const cell = (tag, index, value) => make(tag, { class: numeric[index] ? "number" : tag === "td" ? "wrap" : null, scope: tag === "th" ? "col" : null }, value);
  const head = make("tr", {}, ...headings.map((heading, index) => cell("th", index, heading.replace(/^#/, ""))));
  const body = rows.map((row) => make("tr", {}, ...row.map((value, index) => cell("td", index, value))));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": headings.map((h) => h.replace(/^#/, "")).join(", ") },
    make("table", { class: "plain" }, make("thead", {}, head), make("tbody", {}, ...body)));
}
